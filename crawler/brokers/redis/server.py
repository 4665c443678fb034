"""The connection to Redis, Valkey, or a Cluster of them: many calls on partitions in one round trip for each node."""

from __future__ import annotations

import hashlib
import os
import socket
import ssl
import time
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from crawler.brokers.redis import REDIS_PASSWORD_VARIABLE, shown_url
from crawler.errors import BrokerUnreachable, CrawlerError, StateError, UsageError

try:
    import redis
    from redis.backoff import NoBackoff
    from redis.cluster import ClusterNode, RedisCluster
    from redis.connection import parse_url
    from redis.retry import Retry
except ImportError as error:  # pragma: no cover
    raise UsageError(
        "a broker over Redis takes the package 'redis': pip install 'distributed-image-crawler[redis]'"
    ) from error

#: Seconds that an answer may take; Redis may be writing its file anew.
ANSWER_TIME, CONNECT_TIME = 30.0, 5.0
#: The first line of a script that is refused where no memory is left, and of one that is not.
_GROWS, _ALWAYS = "#!lua\n", "#!lua flags=allow-oom\n"
#: Plain commands that write little, and are needed most where no memory is left.
_PLAIN = _ALWAYS + "return redis.call(ARGV[1], KEYS[1], unpack(ARGV, 2))"
#: The fields of a job, changed by who holds its lock, and has looked at its latest run.
_CHANGE = (
    _ALWAYS
    + """
local run = redis.call('HGET', KEYS[1], 'run') or '0'
if redis.call('GET', KEYS[2]) ~= ARGV[1] or run ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], unpack(ARGV, 3))
return 1
"""
)
_UNLOCK = _ALWAYS + "return redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('DEL', KEYS[1]) or 0"
_WRITES = frozenset({"SADD", "SREM", "ZADD", "SET", "HSET"})
#: Errors of a server that does not answer.
_GONE = (
    redis.ConnectionError,
    redis.TimeoutError,
    redis.exceptions.ClusterDownError,
    redis.exceptions.RedisClusterException,  # no node answers, or none has a slot just now
)
#: Errors that pass: no memory left, a replica that takes over, scripts of others that run long, a disk that is full.
_PASSING = (
    redis.exceptions.OutOfMemoryError,
    redis.exceptions.ReadOnlyError,
    redis.exceptions.TryAgainError,
    redis.exceptions.MasterDownError,
    redis.exceptions.AskError,
    redis.exceptions.MovedError,
)
_PASSING_WORDS = ("BUSY", "MISCONF", "NOREPLICAS")
_OF_ONE_NODE = frozenset({"host", "port", "db", "connection_class"})
#: Seconds after which our idea of the server's time is set anew.
SET_EVERY = 60.0
#: Times that calls are repeated which came to a node that has not the script, or not the partition any more.
REPEATS = 4


def _script() -> str:
    folder = resources.files(__package__) / "scripts"
    parts = sorted((part for part in folder.iterdir() if part.name.endswith(".lua")), key=lambda part: part.name)
    return "".join(part.read_text(encoding="utf-8") for part in parts)


class _Script:
    """A script, and the digest by which nodes know it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.digest = hashlib.sha1(text.encode()).hexdigest()


class Server:
    """One Redis, or a Cluster. Nothing is repeated but what certainly has not run; a lost connection is told."""

    def __init__(self, url: str) -> None:
        self.shown = shown_url(url)
        self._url = url
        script = _script()
        self._grows, self._always = _Script(_GROWS + script), _Script(_ALWAYS + script)
        self._plain, self._change, self._unlock = _Script(_PLAIN), _Script(_CHANGE), _Script(_UNLOCK)
        self._nodes_once: list[tuple[str, int]] = []
        self._set, self._ahead = float("-inf"), 0.0
        self._single: redis.Redis | None = None
        self._cluster: RedisCluster | None = None

    def run(self, calls: Sequence[tuple[str, bytes]], *, grows: bool) -> list[Any]:
        """Run the script for each (key, call), and return the answers; None where the call was of an older run.

        What `grows` is refused where there is no memory left; all else makes room, and is not.
        """
        digest = (self._grows if grows else self._always).digest
        return self._all([("EVALSHA", digest, 1, key, call) for key, call in calls], keys=[key for key, _ in calls])

    def ask(self, *commands: tuple[Any, ...]) -> list[Any]:
        """Run plain commands, whose second word is their key, and return the answers."""
        asked = [
            ("EVALSHA", self._plain.digest, 1, key, name, *rest) if name in _WRITES else (name, key, *rest)
            for name, key, *rest in commands
        ]
        return self._all(asked, keys=[command[1] for command in commands])

    def change(self, key: str, lock: str, token: str, run: int, fields: dict[str, Any]) -> bool:
        """Set fields of a job whose latest run is `run`, if its lock is held with `token`; tell whether they were."""
        words = [word for entry in fields.items() for word in entry]
        return bool(self._all([("EVALSHA", self._change.digest, 2, key, lock, token, run, *words)], keys=[key])[0])

    def unlock(self, lock: str, token: str) -> None:
        """Free a lock, unless it is another's by now."""
        self._all([("EVALSHA", self._unlock.digest, 1, lock, token)], keys=[lock])

    @property
    def addresses(self) -> tuple[tuple[str, int], ...]:
        """Where its nodes are, numeric, each with its port."""
        parts = urlsplit(self._url)
        nodes = [(parts.hostname or "", parts.port or 6379)]
        if self._cluster is not None:
            nodes = [(node.host, node.port) for node in self._cluster.get_nodes()]  # type: ignore[no-untyped-call]
        found: list[tuple[str, int]] = []
        for host, port in nodes:
            try:
                found += [
                    (str(where[0]), port) for *_, where in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
                ]
            except OSError as error:
                raise BrokerUnreachable(f"the name {host} of {self.shown} is not known: {error}") from error
        return tuple(found)

    def close(self) -> None:
        nodes = self._cluster.get_nodes() if self._cluster is not None else []  # type: ignore[no-untyped-call]
        for node in nodes:
            if node.redis_connection is not None:  # closing the Cluster leaves its sockets to the garbage collector
                node.redis_connection.connection_pool.disconnect()
        for client in (self._single, self._cluster):
            if client is not None:
                client.close()
        self._single = self._cluster = None

    def _all(self, commands: Sequence[tuple[Any, ...]], keys: Sequence[str | bytes]) -> list[Any]:
        try:
            return self._repeat(commands, keys)
        except (redis.RedisError, redis.exceptions.RedisClusterException) as error:
            raise self._translated(error) from error

    def _translated(self, error: Exception) -> CrawlerError:
        if any(isinstance(cause, redis.AuthenticationError) for cause in _causes(error)):
            return UsageError(f"{self.shown} wants another user or password, in --server or {REDIS_PASSWORD_VARIABLE}")
        if why := _distrust(error):
            return UsageError(
                f"{self.shown} shows a certificate that is not trusted here ({why}): name the file of its authority "
                "with ?ssl_ca_certs=FILE at the end of the URL, or in SSL_CERT_FILE"
            )
        if isinstance(error, _GONE):
            self.close()
            return BrokerUnreachable(f"no answer from {self.shown}: {error}")
        if isinstance(error, _PASSING) or str(error).startswith(_PASSING_WORDS):
            self.close()  # another node may have its place
            return BrokerUnreachable(f"{self.shown} takes nothing now: {error}")
        return StateError(f"{self.shown}: {error}")

    def _repeat(self, commands: Sequence[tuple[Any, ...]], keys: Sequence[str | bytes]) -> list[Any]:
        answers: list[Any] = [None] * len(commands)
        left = list(range(len(commands)))
        for _ in range(REPEATS):
            again: list[int] = []
            for client, places in self._by_node(left, keys):
                pipeline = client.pipeline(transaction=False)
                for place in places:
                    pipeline.execute_command(*commands[place])  # type: ignore[no-untyped-call]
                for place, answer in zip(places, pipeline.execute(raise_on_error=False), strict=True):
                    answers[place] = answer
                    if isinstance(answer, (redis.exceptions.NoScriptError, redis.exceptions.MovedError)):
                        again.append(place)
            if not again:
                break
            self._mend([answers[place] for place in again])
            left = again
        for place, answer in enumerate(answers):
            if isinstance(answer, redis.ResponseError) and str(answer).startswith("STALE"):
                answers[place] = None
            elif isinstance(answer, Exception):
                raise answer
        return answers

    def _mend(self, errors: list[Exception]) -> None:
        """Load the script where it is not, and learn anew where partitions are."""
        if any(isinstance(error, redis.exceptions.MovedError) for error in errors) and self._cluster is not None:
            self._cluster.nodes_manager.initialize()
        for client in self._nodes():
            for script in (self._grows, self._always, self._plain, self._change, self._unlock):
                client.script_load(script.text)

    def _nodes(self) -> list[redis.Redis]:
        if self._cluster is None:
            return [self._connected()]
        return [self._cluster.get_redis_connection(node) for node in self._cluster.get_primaries()]  # type: ignore[no-untyped-call]

    def _by_node(self, places: list[int], keys: Sequence[str | bytes]) -> list[tuple[redis.Redis, list[int]]]:
        single = self._connected()
        if self._cluster is None:
            return [(single, places)]
        nodes: dict[str, tuple[redis.Redis, list[int]]] = {}
        for place in places:
            node = self._cluster.get_node_from_key(keys[place])  # type: ignore[no-untyped-call]
            if node is None:
                raise redis.ConnectionError("no node has its slot")
            nodes.setdefault(node.name, (self._cluster.get_redis_connection(node), []))[1].append(place)
        return list(nodes.values())

    def _connected(self) -> redis.Redis:
        if self._single is None:
            try:
                self._single = self._connect()
            except (ValueError, TypeError) as error:
                raise UsageError(f"--server {self.shown}: {error}") from error
            except redis.ConnectionError:
                if not self._nodes_once:
                    raise
                # The node that is named may be gone for good while the others go on.
                nodes = [ClusterNode(host, port) for host, port in self._nodes_once]  # type: ignore[no-untyped-call]
                self._cluster = RedisCluster(startup_nodes=nodes, **self._single_options())
                self._single = self._nodes()[0]
        return self._single

    def _connect(self) -> redis.Redis:
        options = self._options()
        _check_authorities(self._url)
        single = redis.Redis.from_url(self._url, **options)
        if single.info("cluster").get("cluster_enabled"):
            self._cluster = RedisCluster.from_url(self._url, **options)
            nodes = self._cluster.get_nodes()  # type: ignore[no-untyped-call]
            self._nodes_once = [(node.host, node.port) for node in nodes]
        return single

    def _single_options(self) -> dict[str, Any]:
        """Return what the URL says beside its host, as a node takes it."""
        parsed = parse_url(self._url)  # type: ignore[no-untyped-call]
        said = {name: value for name, value in parsed.items() if name not in _OF_ONE_NODE}
        return {**said, "ssl": urlsplit(self._url).scheme == "rediss", **self._options()}

    def now(self) -> float:
        """Return the time of the server, which all processes share."""
        if time.monotonic() - self._set > SET_EVERY:
            (answer,) = self._all([("TIME",)], keys=[""])
            self._set, self._ahead = time.monotonic(), _seconds(answer) - time.monotonic()
        return time.monotonic() + self._ahead

    def _options(self) -> dict[str, Any]:
        options: dict[str, Any] = {
            "retry": Retry(NoBackoff(), 0),
            "socket_timeout": ANSWER_TIME,
            "socket_connect_timeout": CONNECT_TIME,
        }
        password = os.environ.get(REDIS_PASSWORD_VARIABLE)
        if password and not urlsplit(self._url).password:
            options["password"] = password
        return options


def _seconds(answer: tuple[int, int]) -> float:
    return int(answer[0]) + int(answer[1]) / 1e6


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Give an error and what led to it."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _distrust(error: BaseException) -> str:
    """Return why the server's certificate was refused, `""` where it is not this that led to `error`."""
    refusals = (cause for cause in _causes(error) if isinstance(cause, ssl.SSLCertVerificationError))
    refusal = next(refusals, None)
    return refusal.verify_message.rstrip(".") if refusal is not None else ""


def _check_authorities(url: str) -> None:
    """Raise UsageError where the file that `url` names holds no certificates: it would be taken for a lost server."""
    for file in parse_qs(urlsplit(url).query).get("ssl_ca_certs", []):
        try:
            ssl.create_default_context(cafile=file)
        except OSError as error:
            raise UsageError(f"--server: {file} holds no certificates: {error.strerror or error}") from error
    for option in ("ssl_certfile", "ssl_keyfile"):
        for file in parse_qs(urlsplit(url).query).get(option, []):
            if not Path(file).is_file():
                raise UsageError(f"--server: {option} names {file}, which is no file")


def job_key(job: str) -> str:
    """Return what begins the keys that a job has beside its partitions; all are in one slot."""
    return f"crawler:{{{quote(job, safe='')}}}:"


def partition_key(job: str, partition: int) -> str:
    """Return what begins the keys of a partition of a job; all are in one slot."""
    return f"crawler:{{{quote(job, safe='')}:{partition}}}:"


#: The names of all jobs.
JOBS = "crawler:jobs"
