from __future__ import annotations

import os

from mutations import attack, serving


def test_mutated_messages_of_a_worker_that_has_the_key() -> None:
    """The short form; `python tests/mutations.py` sends 100,000."""
    with serving() as server:
        grown = attack(server, int(os.environ.get("MUTATIONS", "3000")), seed=5)
    assert grown < 64 * 2**20
