from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from crawler.images import reach
from crawler.images.reach import Reach


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def test_who_listens_can_be_reached(listener: socket.socket) -> None:
    ours = Reach()
    ours.answered = socket.AF_INET, listener.getsockname()
    assert ours.works()
    connection, _ = listener.accept()
    with connection:
        assert connection.recv(10) == b"", "nothing is sent"


def test_who_refuses_is_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        where = listener.getsockname()
    ours = Reach()
    ours.answered = socket.AF_INET, where
    assert ours.works()


def test_who_does_not_answer_tells_of_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "PATIENCE", 0.2)
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, socket.socket() as first, socket.socket() as second:
        for waits in (first, second):
            waits.setblocking(False)
            waits.connect_ex(full.getsockname())
        ours = Reach()
        ours.answered = socket.AF_INET, full.getsockname()
        assert not ours.works()


def test_before_any_answer_nothing_is_known() -> None:
    assert not Reach().works()


def test_what_was_found_holds_for_a_while(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = Reach()
    ours.answered = socket.AF_INET, listener.getsockname()
    assert ours.works()
    ours.answered = None
    assert ours.works()
    monkeypatch.setattr(reach, "HOLDS", 0.0)
    assert not ours.works()
