from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest

from crawler.images import reach
from crawler.images.reach import MOST, Reach, Where


@pytest.fixture
def stack() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "PATIENCE", 0.2)


def listening(stack: contextlib.ExitStack, backlog: int = 8) -> tuple[socket.socket, Where]:
    listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=backlog))
    return listener, (socket.AF_INET, listener.getsockname())


def silent(stack: contextlib.ExitStack) -> Where:
    _, where = listening(stack, backlog=0)
    for _ in range(2):
        waits = stack.enter_context(socket.socket())
        waits.setblocking(False)
        waits.connect_ex(where[1])
    return where


def after(*answered: Where) -> Reach:
    ours = Reach()
    for where in answered:
        ours.answered(where)
    return ours


def test_who_listens_can_be_reached(stack: contextlib.ExitStack) -> None:
    listener, where = listening(stack)
    assert after(where).works()
    connection, _ = listener.accept()
    with connection:
        assert connection.recv(10) == b"", "nothing is sent"


def test_who_refuses_is_there() -> None:
    with contextlib.ExitStack() as stack:
        _, where = listening(stack)
    assert after(where).works()


def test_who_does_not_answer_tells_of_no_network(stack: contextlib.ExitStack) -> None:
    assert not after(silent(stack)).works()


def test_to_whom_there_is_no_way_tells_of_none() -> None:
    assert not after((socket.AF_INET, ("255.255.255.255", 9))).works()


def test_most_of_them_have_to_answer(stack: contextlib.ExitStack) -> None:
    there, here, gone = listening(stack)[1], listening(stack)[1], silent(stack)
    assert after(gone, there, here).works()
    assert not after(gone, there).works()


def test_the_last_ones_count(stack: contextlib.ExitStack) -> None:
    gone = silent(stack)
    assert after(gone, *[listening(stack)[1] for _ in range(MOST)]).works()


def test_before_any_answer_nothing_is_known() -> None:
    assert not Reach().works()


@pytest.mark.parametrize("public", ["93.184.215.14", "2606:2800:21f:cb07::1"])
def test_a_neighbour_does_not_speak_for_the_public_network(
    stack: contextlib.ExitStack, public: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Where] = []
    monkeypatch.setattr(reach, "_connected", lambda addresses, _: asked.extend(addresses) or 0)
    away: Where = (socket.AF_INET6 if ":" in public else socket.AF_INET, (public, 443))
    assert not after(away, *[listening(stack)[1] for _ in range(2 * MOST)]).works()
    assert asked == [away]
