"""What every store promises, over files, files that take long, memory, and a server of the S3 protocol."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crawler.contracts import JobFolder, Store
from crawler.errors import NotShared, Unstorable
from crawler.outputs import parse_output
from crawler.stores import files, open_folder
from crawler.stores.directory import FileFolder
from crawler.urls import normalise
from servers.s3 import BUCKET, S3, forget_stores, needed
from servers.storing import BODY, is_open, put

JOB = "j"
SHA = "0123456789abcdef" * 4


class Place(Protocol):
    """A folder of a job, and what is in it as another program sees it."""

    folder: JobFolder
    slow: bool

    def content(self) -> dict[str, bytes]: ...


class Files:
    def __init__(self, root: Path, *, slow: bool) -> None:
        self.folder: JobFolder = FileFolder(root)
        self.root = root
        self.slow = slow

    def content(self) -> dict[str, bytes]:
        return {str(path.relative_to(self.root)): path.read_bytes() for path in self.root.rglob("*") if path.is_file()}


class Memory:
    slow = True

    def __init__(self) -> None:
        import obstore.store

        from crawler.stores.objects import ObjectFolder

        self.remote = obstore.store.MemoryStore()
        self.folder: JobFolder = ObjectFolder("memory://j", self.remote)

    def content(self) -> dict[str, bytes]:
        names = [item["path"] for items in self.remote.list() for item in items]
        return {name: bytes(self.remote.get(name).bytes()) for name in names}


class Objects:
    slow = True

    def __init__(self, server: S3) -> None:
        self.server = server
        self.prefix = f"some prefix/{os.urandom(4).hex()}"
        self.folder = open_folder(parse_output(f"s3://{BUCKET}/{self.prefix}"), JOB)

    def content(self) -> dict[str, bytes]:
        below = f"{self.prefix}/{JOB}/"
        return {name.removeprefix(below): body for name, body in self.server.objects(below).items()}


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    needed()
    with S3() as server:
        yield server


def delay(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let what is done to files take long, as on a network file system."""

    def delayed(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **more: Any) -> Any:
            time.sleep(seconds)
            return real(*arguments, **more)

        return call

    for name in ("open", "write", "rename", "unlink", "mkdir"):
        monkeypatch.setattr(files.os, name, delayed(getattr(os, name)))


@pytest.fixture(params=["files", "slow files", "memory", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    forget_stores(monkeypatch)
    if request.param == "memory":
        needed()
        return Memory()
    if request.param == "s3":
        server: S3 = request.getfixturevalue("s3")
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        return Objects(server)
    if request.param == "slow files":
        delay(monkeypatch, 0.003)
    return Files(tmp_path / JOB, slow=request.param == "slow files")


@pytest.fixture
def opened(place: Place) -> Iterator[Callable[[str], Store]]:
    """Make stores of workers; those that the test leaves open are closed."""
    stores: list[Store] = []

    def make(worker: str) -> Store:
        stores.append(place.folder.open_store(worker, slow=place.slow))
        return stores[-1]

    yield make
    for store in stores:
        store.close()


@pytest.fixture
def store(opened: Callable[[str], Store]) -> Store:
    return opened("w-1-a")


class Told:
    """What a store said of many images; `wait` returns when all have been told of."""

    def __init__(self, number: int) -> None:
        self.errors: list[tuple[str, Exception | None]] = []
        self._left = threading.Semaphore(0)
        self._number = number

    def of(self, name: str) -> Callable[[Exception | None], None]:
        def done(error: Exception | None) -> None:
            self.errors.append((name, error))
            self._left.release()

        return done

    def wait(self) -> None:
        for _ in range(self._number):
            assert self._left.acquire(timeout=60)


class TestPut:
    def test_stored_is_there_whole(self, store: Store, place: Place) -> None:
        assert put(store, "example.com/a/b-1.jpeg") is None
        assert place.content() == {"example.com/a/b-1.jpeg": BODY}

    def test_twice_is_harmless(self, store: Store, place: Place) -> None:
        for _ in range(2):
            assert put(store, "example.com/b.jpeg") is None
        assert place.content() == {"example.com/b.jpeg": BODY}

    def test_an_empty_body_is_an_image_too(self, store: Store, place: Place) -> None:
        assert put(store, "e.bin", b"") is None
        assert place.content() == {"e.bin": b""}

    def test_a_large_one_is_whole(self, store: Store, place: Place) -> None:
        body = os.urandom(12 * 2**20)
        assert put(store, "large.png", body) is None
        assert place.content()["large.png"] == body

    def test_many_at_once_are_told_of_once_each(self, store: Store, place: Place) -> None:
        told = Told(200)
        bodies = {f"h/{n % 7}/{n}.jpeg": BODY[: n * 10] for n in range(200)}
        for name, body in bodies.items():
            store.put(name, body, told.of(name))
        told.wait()
        assert sorted(told.errors) == [(name, None) for name in sorted(bodies)]
        assert {name: body for name, body in place.content().items() if name.endswith(".jpeg")} == bodies

    def test_two_workers_store_the_same_at_once(self, opened: Callable[[str], Store], place: Place) -> None:
        stores, told = [opened(f"w-{n}-a") for n in range(2)], Told(100)
        for n in range(50):
            for store in stores:
                store.put(f"h/{n}.jpeg", BODY[:n], told.of(f"{n}"))
        told.wait()
        assert {error for _, error in told.errors} == {None}
        for store in stores:
            store.close()
        assert place.content() == {f"h/{n}.jpeg": BODY[:n] for n in range(50)}

    @pytest.mark.parametrize("name", ["h/a\0b.jpeg", "h/../b.jpeg", "h//b.jpeg", "..", "h/."])
    def test_a_name_that_can_be_none_is_unstorable(self, store: Store, place: Place, name: str) -> None:
        assert isinstance(put(store, name), Unstorable)
        assert is_open(store) and put(store, "h/c.jpeg") is None
        assert [found for found in place.content() if found.endswith(".jpeg")] == ["h/c.jpeg"]

    @pytest.mark.parametrize(
        "name", ["h/a b%20c+d&e=f;g.jpeg", "h/ä漢😀/~1#?.jpeg", "h/%2e%2e/x.jpeg", "h/a'\"`$.jpeg"]
    )
    def test_names_are_taken_as_they_are(self, store: Store, place: Place, name: str) -> None:
        assert put(store, name) is None
        assert place.content() == {name: BODY}


class TestEnd:
    def test_close_finishes_what_is_under_way(self, opened: Callable[[str], Store], place: Place) -> None:
        store, told = opened("w-1-a"), Told(50)
        for n in range(50):
            store.put(f"h/{n}.jpeg", BODY, told.of(f"{n}"))
        store.close()
        assert len(told.errors) == 50 and {error for _, error in told.errors} == {None}
        assert place.content() == {f"h/{n}.jpeg": BODY for n in range(50)}

    def test_closing_twice_is_harmless(self, store: Store) -> None:
        store.close()
        store.close()

    def test_a_probe_leaves_nothing(self, store: Store, place: Place) -> None:
        assert is_open(store)
        assert not place.content()


class TestFolder:
    def test_it_is_marked_for_one_job(self, place: Place) -> None:
        folder = place.folder
        assert not folder.is_marked()
        with pytest.raises(NotShared, match="is not there"):
            folder.check_mark("id1")
        for _ in range(2):
            folder.mark("id1")
            folder.check_mark("id1")
        assert folder.is_marked() and place.content() == {".job": b"id1\n"}

    def test_it_is_not_given_to_another(self, place: Place) -> None:
        place.folder.mark("id1")
        with pytest.raises(NotShared, match=r"belongs to another job.*--output"):
            place.folder.mark("id2")
        with pytest.raises(NotShared, match="is another"):
            place.folder.check_mark("id2")
        place.folder.check_mark("id1")

    def test_a_mark_that_is_no_text_is_another(self, place: Place) -> None:
        store = place.folder.open_store("w-1-a")
        assert put(store, ".job", b"\xff\xfe\x00") is None
        store.close()
        with pytest.raises(NotShared, match="is another"):
            place.folder.check_mark("id1")

    def test_sweeping_leaves_images(self, store: Store, place: Place) -> None:
        assert put(store, "h/a.jpeg") is None
        place.folder.sweep(finished=True)
        assert place.content() == {"h/a.jpeg": BODY}

    def test_a_file_goes_up_in_place_of_the_one_before(self, place: Place, tmp_path: Path) -> None:
        file = (place.folder.path or tmp_path) / "metadata.jsonl"
        file.parent.mkdir(exist_ok=True)
        for text in (b"one\n", b"one\ntwo\n" * 3 * 2**20, b""):  # a ledger of 24 MB goes up in parts
            file.write_bytes(text)
            place.folder.upload(file, "metadata.jsonl")
            assert place.content()["metadata.jsonl"] == text

    def test_a_file_goes_up_below_a_folder(self, place: Place, tmp_path: Path) -> None:
        file = (place.folder.path or tmp_path) / "runs" / "1.json"
        file.parent.mkdir(parents=True)
        file.write_bytes(b"{}")
        place.folder.upload(file, "runs/1.json")
        assert place.content()["runs/1.json"] == b"{}"


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(max_size=200), max_size=30))
def test_every_image_has_a_name_that_is_a_key(parts: list[str]) -> None:
    from crawler.stores.objects import MAX_NAME

    place = Memory()
    url = normalise("http://" + "a" * 60 + ".example/" + "/".join(parts)) or "http://a.example/"
    name = place.folder.file_name(url, SHA, "jpeg")
    assert len(name.encode()) <= MAX_NAME and name.endswith("-0123456789ab.jpeg")
    store = place.folder.open_store("w")
    assert put(store, name) is None
    store.close()
    assert place.content() == {name: BODY}


def test_names_too_long_for_a_key_still_differ() -> None:
    folder = Memory().folder
    urls = ["http://a.example/" + "ä/" * 9 + "ü" * 100 * n + f"{x}.jpg" for n in (1, 30) for x in ("x", "y")]
    urls += ["http://a.example/" + "/".join(["ß" * 100] * 15) + f"/{x}.jpg" for x in ("x", "y")]
    names = [folder.file_name(url, SHA, "jpeg") for url in urls]
    assert len(set(names)) == len(names) and all(name.startswith("a.example/") for name in names)
    assert [len(name) < 60 for name in names[-2:]] == [True, True]
