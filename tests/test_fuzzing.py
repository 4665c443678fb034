"""A short look at every reader of what strangers send; `make fuzz` looks longer, with another seed each time."""

from __future__ import annotations

import pytest

from fuzzing import TARGETS, Target, attack

#: Inputs of each target.
INPUTS = 1500


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_nothing_but_its_own_errors(target: Target) -> None:
    for number in range(INPUTS):
        attack(target, 1, number)
