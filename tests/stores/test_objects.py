"""What object stores refuse, and how it is told; the store's own answers are scripted here."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest

from crawler.errors import StoreError, StoreRefused, Unstorable, UsageError
from crawler.outputs import parse_output
from servers.s3 import forget_stores, needed
from servers.storing import BODY, is_open, put

needed()

from crawler.contracts import JobFolder, Parcel  # noqa: E402
from crawler.stores import objects, open_folder  # noqa: E402

SECRET = "a-secret-of-the-tests"
OUTPUT = "s3://images/prefix"

#: A status and a body for a request: method and key below the job's folder.
Answer = Callable[[str, str], tuple[int, bytes] | None]


def xml(code: str, message: str = "so it is") -> bytes:
    return (
        f"<Error><Code>{code}</Code><Message>{message}</Message><AWSAccessKeyId>AKIATESTTESTTEST</AWSAccessKeyId>"
        f"<StringToSign>{SECRET}</StringToSign></Error>"
    ).encode()


class Script:
    """A server that answers as it is told; None ends the connection without an answer."""

    def __init__(self) -> None:
        self.answer: Answer = lambda method, key: (200, b"")
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        script = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_PUT(self) -> None:
                self.rfile.read(int(self.headers["content-length"] or 0))
                key = self.path.removeprefix("/images/prefix/j/")
                script.asked.append((self.command, key, {name.lower(): value for name, value in self.headers.items()}))
                answer = script.answer(self.command, key)
                self.close_connection = True
                if answer is None:
                    return
                self.send_response(answer[0])
                self.send_header("ETag", '"e"')
                self.send_header("Last-Modified", "Mon, 02 Jan 2023 03:04:05 GMT")
                self.send_header("Content-Length", str(len(answer[1])))
                self.end_headers()
                self.wfile.write(answer[1])

            do_GET = do_DELETE = do_POST = do_PUT

            def log_message(self, *_: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def puts(self) -> list[str]:
        return [key for method, key, _ in self.asked if method == "PUT"]

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[Script]:
    forget_stores(monkeypatch)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIATESTTESTTEST")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setattr(objects, "PATIENCE", 0.5)
    made = Script()
    yield made
    made.close()


@pytest.fixture
def folder(script: Script) -> JobFolder:
    return open_folder(parse_output(OUTPUT), "j", script.url)


@pytest.fixture
def store(folder: JobFolder) -> Iterator[Any]:
    store = folder.open_store("w-1-a")
    yield store
    store.close()


class TestPut:
    def test_it_is_only_put_where_nothing_is(self, script: Script, store: Any) -> None:
        assert put(store, "h/a.jpeg") is None
        (asked,) = script.asked
        assert asked[:2] == ("PUT", "h/a.jpeg") and asked[2]["if-none-match"] == "*"
        assert asked[2]["content-length"] == str(len(BODY))

    def test_what_is_there_is_there(self, script: Script, store: Any) -> None:
        script.answer = lambda *_: (412, xml("PreconditionFailed"))
        assert put(store, "h/a.jpeg") is None
        assert script.puts() == ["h/a.jpeg"]

    def test_a_conflict_that_is_not_decided_is_tried_again(self, script: Script, store: Any) -> None:
        script.answer = lambda *_: (409, xml("ConditionalRequestConflict")) if len(script.asked) < 3 else (200, b"")
        assert put(store, "h/a.jpeg") is None
        assert len(script.puts()) == 3

    def test_a_conflict_without_end_is_no_success(self, script: Script, store: Any) -> None:
        script.answer = lambda *_: (409, xml("ConditionalRequestConflict"))
        error = put(store, "h/a.jpeg")
        assert isinstance(error, StoreError) and not isinstance(error, Unstorable)

    @pytest.mark.parametrize("answer", [(503, xml("SlowDown")), (500, b""), None], ids=["slow down", "error", "cut"])
    def test_what_passes_is_tried_again(self, script: Script, store: Any, answer: tuple[int, bytes] | None) -> None:
        script.answer = lambda *_: answer if len(script.asked) < 3 else (200, b"")
        assert put(store, "h/a.jpeg") is None
        assert len(script.puts()) == 3

    @pytest.mark.parametrize("answer", [(503, xml("SlowDown", "reduce your rate")), (507, b""), None])
    def test_what_does_not_pass_is_the_stores(
        self, script: Script, store: Any, answer: tuple[int, bytes] | None
    ) -> None:
        script.answer = lambda *_: answer
        error = put(store, "h/a.jpeg")
        assert isinstance(error, StoreError) and not isinstance(error, Unstorable)
        assert str(error).startswith("s3://images/prefix/j: ") and "\n" not in str(error)
        assert answer is None or ("SlowDown: reduce" in str(error)) == (answer[0] == 503)
        assert not is_open(store)
        script.answer = lambda *_: (200, b"")
        assert is_open(store) and put(store, "h/a.jpeg") is None

    def test_one_that_is_refused_where_others_are_taken_is_unstorable(self, script: Script, store: Any) -> None:
        script.answer = lambda _, key: (400, xml("KeyTooLongError", "too long")) if "long" in key else (200, b"")
        error = put(store, "h/long.jpeg")
        assert isinstance(error, Unstorable) and "KeyTooLongError: too long" in str(error)
        assert put(store, "h/a.jpeg") is None

    def test_a_name_does_not_tell_what_is_wrong(self, script: Script, store: Any) -> None:
        script.answer = lambda *_: None if len(script.asked) < 3 else (200, b"")
        name = "169.254.169.254/latest/meta-data/MissingAccessKeyId/TimedOut-0123456789ab.jpeg"
        assert put(store, name) is None
        script.answer = lambda _, key: (400, b"") if "latest" in key else (200, b"")
        assert isinstance(put(store, name), Unstorable)

    def test_one_that_is_refused_as_all_are_is_not(self, script: Script, store: Any) -> None:
        script.answer = lambda *_: (400, xml("InvalidRequest"))
        error = put(store, "h/a.jpeg")
        assert isinstance(error, StoreError) and not isinstance(error, Unstorable)

    def test_a_probe_need_not_be_removed(self, script: Script, store: Any) -> None:
        script.answer = lambda method, _: (200, b"") if method == "PUT" else (403, xml("AccessDenied"))
        assert is_open(store)

    def test_nobody_waits_for_a_store_that_is_silent(
        self, script: Script, folder: JobFolder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(objects, "GRACE", 0.1)
        silent = threading.Event()
        script.answer = lambda *_: silent.wait(60) and None
        store = folder.open_store("w-1-a")
        said: list[Exception | None] = []
        for n in range(100):
            store.put(f"h/{n}.jpeg", BODY, said.append)
        store.close()
        silent.set()
        assert len(said) == 100 and all(isinstance(error, StoreError) for error in said)

    def test_a_silent_store_is_given_up(self, script: Script, store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(objects, "DEADLINE", 0.2)
        silent = threading.Event()
        script.answer = lambda *_: silent.wait(60) and None
        error = put(store, "h/a.jpeg")
        silent.set()
        assert isinstance(error, StoreError) and "no answer within" in str(error)

    def test_a_defect_is_told(self, script: Script, store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(objects.obstore, "put_async", lambda *_, **__: 1 / 0)
        assert isinstance(put(store, "h/a.jpeg"), Unstorable)


class TestRefusal:
    @pytest.mark.parametrize(
        ("answer", "message"),
        [
            ((403, xml("SignatureDoesNotMatch")), "SignatureDoesNotMatch.*AWS_SECRET_ACCESS_KEY"),
            ((403, xml("AccessDenied", f"not with {SECRET}")), "AccessDenied: not with ….*may do there"),
            ((401, b""), "answered 401 Unauthorized.*AWS_ACCESS_KEY_ID"),
            ((400, xml("ExpiredToken")), "ExpiredToken.*AWS_SESSION_TOKEN"),
            ((404, xml("NoSuchBucket")), "no such bucket.*--output"),
            ((301, b""), "another region.*AWS_REGION"),
        ],
    )
    def test_at_the_door(self, script: Script, folder: JobFolder, answer: tuple[int, bytes], message: str) -> None:
        script.answer = lambda *_: answer
        for ask in (lambda: folder.mark("id1"), folder.is_marked, lambda: folder.check_mark("id1")):
            with pytest.raises(StoreRefused, match=message) as caught:
                ask()
            text = str(caught.value)
            assert text.startswith("s3://images/prefix/j: ") and "\n" not in text and caught.value.exit_code == 2
            assert SECRET not in text and "AKIATEST" not in text
            assert caught.value.__suppress_context__, "a traceback would show the store's own text"

    def test_nothing_listens(self, script: Script) -> None:
        folder = open_folder(parse_output(OUTPUT), "j", "http://127.0.0.1:1")
        with pytest.raises(StoreError, match="prefix/j: Connection refused") as caught:
            folder.mark("id1")
        assert not isinstance(caught.value, StoreRefused)

    def test_no_credentials(self, script: Script, folder: JobFolder, monkeypatch: pytest.MonkeyPatch) -> None:
        for missing in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(missing)
            with pytest.raises(StoreRefused, match=r"no credentials.*AWS_ACCESS_KEY_ID"):
                open_folder(parse_output(OUTPUT), "j", script.url).mark("id1")
        assert not script.asked

    def test_no_account_of_azure(self, script: Script) -> None:
        with pytest.raises(StoreRefused, match="AZURE_STORAGE_ACCOUNT_NAME"):
            open_folder(parse_output("az://images"), "j", script.url)

    def test_a_worker_meets_the_same(self, script: Script, store: Any) -> None:
        script.answer = lambda *_: (403, xml("InvalidAccessKeyId"))
        assert isinstance(put(store, "h/a.jpeg"), StoreRefused)


class TestEndpoint:
    @pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"])
    def test_the_environment_names_it(self, script: Script, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
        monkeypatch.setenv(variable, script.url)
        open_folder(parse_output(OUTPUT), "j").mark("id1")
        assert script.puts() == [".job"]

    @pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"])
    def test_the_flag_is_stronger(self, script: Script, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
        monkeypatch.setenv(variable, "http://127.0.0.1:1")
        open_folder(parse_output(OUTPUT), "j", script.url).mark("id1")
        assert script.puts() == [".job"]

    def test_another_store_is_asked_there_too(self, script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "ann")
        monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "c2VjcmV0")
        account = {"client_email": "", "private_key_id": "", "private_key": "", "disable_oauth": True}
        monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT_KEY", json.dumps(account))
        for output, path in (("az://images/p", "/images/p/j/.job"), ("gs://images/p", "/images/p%2Fj%2F%2Ejob")):
            open_folder(parse_output(output), "j", script.url).mark("id1")
            assert script.asked[-1][:2] == ("PUT", path)

    def test_plain_http_is_spoken_where_it_is_named_only(self, script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(StoreError):
            open_folder(parse_output(OUTPUT), "j", script.url.replace("http:", "https:")).mark("id1")
        assert not script.asked

    def test_without_the_library_it_is_named(self, script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
        import sys

        monkeypatch.delitem(sys.modules, "crawler.stores.objects")
        monkeypatch.delitem(sys.modules, "crawler.stores.refusals", raising=False)
        monkeypatch.setitem(sys.modules, "obstore", None)
        with pytest.raises(UsageError, match=r"pip install 'distributed-image-crawler\[objects\]'"):
            open_folder(parse_output(OUTPUT), "j")


class TestArchive:
    PARCELS: ClassVar = [Parcel(1, 2, b"head", b"body")]
    PART = ".ledger/job/0003/000000000000001-000000000000002.part"

    def test_a_part_is_one_put_in_place_of_what_is_there(self, script: Script, folder: JobFolder) -> None:
        folder.open_archive().write("job", 3, self.PARCELS)
        (asked,) = script.asked
        assert asked[:2] == ("PUT", self.PART) and "if-none-match" not in asked[2]

    def test_also_where_it_is_large(self, script: Script, folder: JobFolder) -> None:
        folder.open_archive().write("job", 3, [Parcel(1, 2, b"head", bytes(20 * 2**20))])
        assert script.puts() == [self.PART]

    @pytest.mark.parametrize("answer", [(503, xml("SlowDown")), (500, b""), None], ids=["slow down", "error", "cut"])
    def test_what_passes_is_tried_again(
        self, script: Script, folder: JobFolder, answer: tuple[int, bytes] | None
    ) -> None:
        script.answer = lambda *_: answer if len(script.asked) < 3 else (200, b"")
        folder.open_archive().write("job", 3, self.PARCELS)
        assert len(script.puts()) == 3

    @pytest.mark.parametrize("answer", [(503, xml("SlowDown")), (400, xml("InvalidRequest")), None])
    def test_what_does_not_pass_is_told(
        self, script: Script, folder: JobFolder, answer: tuple[int, bytes] | None
    ) -> None:
        script.answer = lambda *_: answer
        for ask in (
            lambda: folder.open_archive().write("job", 3, self.PARCELS),
            lambda: list(folder.open_archive().read("job", 3, 0)),
        ):
            with pytest.raises(StoreError, match=r"^s3://images/prefix/j: ") as caught:
                ask()
            assert "\n" not in str(caught.value)

    def test_who_may_not_list_is_told_what_to_check(self, script: Script, folder: JobFolder) -> None:
        script.answer = lambda *_: (403, xml("AccessDenied"))
        with pytest.raises(StoreRefused, match=r"AccessDenied.*check AWS_ACCESS_KEY_ID") as caught:
            list(folder.open_archive().read("job", 3, 0))
        assert SECRET not in str(caught.value) and caught.value.__cause__ is None
