"""TLS to a Redis: whose certificates are trusted, and what is said of others."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from crawler.brokers.redis import REDIS_PASSWORD_VARIABLE
from crawler.brokers.redis.broker import RedisBroker
from crawler.brokers.redis.server import Server
from crawler.errors import BrokerUnreachable, UsageError
from servers.certificates import Authority
from servers.faulty import FaultySite
from servers.pictures import jpeg
from servers.redis import free_port, redis_server, required

HOST = "127.0.0.1"
USER, PASSWORD = "ann", "a-password-of-the-tests"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("certificates")


@pytest.fixture(scope="module")
def authority(folder: Path) -> Authority:
    return Authority(folder)


@pytest.fixture(scope="module")
def stranger(folder: Path) -> Authority:
    return Authority(folder, "stranger")


def flags(authority: Authority, port: int, *, clients: str) -> list[str]:
    certificate, key = authority.certify(HOST)
    return [
        "--tls-port", str(port), "--tls-cert-file", str(certificate), "--tls-key-file", str(key),
        "--tls-ca-cert-file", str(authority.file), "--tls-auth-clients", clients,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def port(authority: Authority) -> Iterator[int]:
    """The port of a Redis with TLS, which knows one user."""
    required()
    port = free_port()
    user = ["--user", "default", "off", "--user", USER, "on", f">{PASSWORD}", "~*", "&*", "+@all"]
    with redis_server(*flags(authority, port, clients="no"), *user):
        yield port


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setenv(REDIS_PASSWORD_VARIABLE, PASSWORD)


def run_of(url: str) -> int:
    """Return the number of a job's run, which is 0: the server answered."""
    server = Server(url)
    try:
        return RedisBroker(server, "tls").counts().run
    finally:
        server.close()


def test_an_authority_is_named_in_the_url(port: int, authority: Authority) -> None:
    assert run_of(f"rediss://{USER}@{HOST}:{port}/0?ssl_ca_certs={authority.file}") == 0


def test_or_in_the_environment(port: int, authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    assert run_of(f"rediss://{USER}@{HOST}:{port}/0") == 0


@pytest.mark.parametrize("named", ["in the url", "in the environment", "nowhere"])
def test_another_authority_is_not_trusted(
    port: int, stranger: Authority, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if named == "in the environment":
        monkeypatch.setenv("SSL_CERT_FILE", str(stranger.file))
    tail = f"?ssl_ca_certs={stranger.file}" if named == "in the url" else ""
    with pytest.raises(UsageError, match=r"not trusted here \(.*certificate.*SSL_CERT_FILE"):
        run_of(f"rediss://{USER}@{HOST}:{port}/0{tail}")


def test_nor_is_a_certificate_of_another_host(port: int, authority: Authority) -> None:
    with pytest.raises(UsageError, match=r"not valid for 'localhost'\)"):
        run_of(f"rediss://{USER}@localhost:{port}/0?ssl_ca_certs={authority.file}")


def test_a_file_that_is_not_there_or_holds_none_is_not_waited_for(port: int, tmp_path: Path) -> None:
    (tmp_path / "empty.pem").touch()
    for name in ("none.pem", "empty.pem"):
        with pytest.raises(UsageError, match=f"{name} holds no certificates"):
            run_of(f"rediss://{USER}@{HOST}:{port}/0?ssl_ca_certs={tmp_path / name}")


def test_without_tls_it_does_not_answer(port: int) -> None:
    with pytest.raises(BrokerUnreachable):
        run_of(f"redis://{USER}@{HOST}:{port}/0")


def test_a_server_that_wants_to_see_a_certificate_sees_one(authority: Authority) -> None:
    required()
    certificate, key = authority.certify("127.0.0.9")
    port = free_port()
    with redis_server(*flags(authority, port, clients="yes")):
        url = f"rediss://{HOST}:{port}/0?ssl_ca_certs={authority.file}"
        with pytest.raises(BrokerUnreachable):
            run_of(url)
        assert run_of(f"{url}&ssl_certfile={certificate}&ssl_keyfile={key}") == 0


def test_what_the_url_says_is_said_to_each_node_of_a_cluster(authority: Authority) -> None:
    options = Server(f"rediss://{USER}@{HOST}:6380/0?ssl_ca_certs={authority.file}")._single_options()
    assert options["ssl"] and options["ssl_ca_certs"] == str(authority.file)
    assert (options["username"], options["password"]) == (USER, PASSWORD)
    assert "host" not in options and "connection_class" not in options


def run(door: str, url: str, *more: str, folder: Path, listed: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "XDG_STATE_HOME": str(folder)}
    del environment[REDIS_PASSWORD_VARIABLE]
    return subprocess.run(
        [sys.executable, "-m", f"crawler.{door}", "--server", url, *more],
        input=listed, capture_output=True, text=True, timeout=60, env=environment,
    )  # fmt: skip


COLLECT = ("collect", "--urls", "-", "--job", "j", "--processes", "1")


def test_a_run_goes_over_tls(port: int, authority: Authority, tmp_path: Path) -> None:
    url = f"rediss://{USER}:{PASSWORD}@{HOST}:{port}/0?ssl_ca_certs={authority.file}"
    with FaultySite() as site:
        site.add("/i.jpg", jpeg(1))
        more = (*COLLECT[1:], "--output", str(tmp_path / "out"), "--allow-net", "127.0.0.0/8", "--ignore-robots")
        ended = run("collect", url, *more, folder=tmp_path, listed=f"{site.url}/i.jpg\n")
        assert (ended.returncode, ended.stdout) == (0, f"{site.url}/i.jpg--->success\n"), ended.stderr
    told = run("status", url, folder=tmp_path)
    assert told.returncode == 0 and "j: finished; " in told.stdout
    assert PASSWORD not in ended.stderr + told.stdout + told.stderr


@pytest.mark.parametrize("door", [COLLECT, ("download", "--wait", "5"), ("status",)], ids=lambda door: door[0])
def test_commands_say_it_in_one_line_without_the_password(
    port: int, stranger: Authority, tmp_path: Path, door: tuple[str, ...]
) -> None:
    url = f"rediss://{USER}:{PASSWORD}@{HOST}:{port}/0?ssl_ca_certs={stranger.file}"
    ended = run(door[0], url, *door[1:], folder=tmp_path, listed="http://127.0.0.1:1/a.jpg\n")
    assert ended.returncode == 2 and not ended.stdout
    (line,) = (line for line in ended.stderr.splitlines() if " INFO " not in line)
    assert f"rediss://{USER}:…@{HOST}:{port}/0 shows a certificate that is not trusted here" in line
    assert PASSWORD not in ended.stderr
