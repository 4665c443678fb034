"""A private server of the S3 protocol (moto's), which can be stopped and started with what it holds."""

from __future__ import annotations

import logging
import os
import urllib.request
from types import TracebackType
from typing import Any

import pytest

BUCKET = "images"
#: What says where a store is and who we are; tests start from none of it.
VARIABLES = ("AWS_", "GOOGLE_", "AZURE_")


def missing() -> str:
    """Return what keeps the server from being there, `""` where nothing does."""
    try:
        import moto.server  # noqa: F401
        import obstore  # noqa: F401
    except ImportError as error:
        return str(error)
    return ""


def needed() -> None:
    """Skip the test where the server is not installed, except in CI."""
    if why := missing():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"S3: {why}")


class S3:
    """Serves buckets from memory, at a port of its own; stopped, it refuses connections and keeps what it has."""

    def __init__(self) -> None:
        from moto.server import ThreadedMotoServer

        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._make = ThreadedMotoServer
        self._server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)

    def __enter__(self) -> S3:
        self._server.start()
        self.port = self._server.get_host_and_port()[1]
        self._ask("POST", "/moto-api/reset")
        self._ask("PUT", f"/{BUCKET}")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """What a client takes to find the server and to be let in."""
        return {
            "AWS_ACCESS_KEY_ID": "AKIATESTTESTTEST", "AWS_SECRET_ACCESS_KEY": "a-secret-of-the-tests",
            "AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL": self.url,
        }  # fmt: skip

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop()
            self._server = None

    def start(self) -> None:
        """Start again at the same port, with what was there."""
        self._server = self._make("127.0.0.1", self.port, verbose=False)
        self._server.start()

    def know_nobody(self) -> None:
        """Refuse all credentials from now on."""
        self._allow(0)

    def know_everybody(self) -> None:
        self._allow(float("inf"))

    def objects(self, prefix: str = "") -> dict[str, bytes]:
        """Return what the bucket has, as another client sees it."""
        client = self.client
        return {name: client.get_object(Bucket=BUCKET, Key=name)["Body"].read() for name in self.names(prefix)}

    def names(self, prefix: str = "") -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return [item["Key"] for page in pages for item in page.get("Contents", [])]

    @property
    def client(self) -> Any:
        import boto3

        return boto3.client(
            "s3", endpoint_url=self.url, region_name="us-east-1",
            aws_access_key_id="AKIATESTTESTTEST", aws_secret_access_key="a-secret-of-the-tests",
        )  # fmt: skip

    def _allow(self, requests: float) -> None:
        from moto import settings
        from moto.core.authorization import ActionAuthenticatorMixin

        settings.INITIAL_NO_AUTH_ACTION_COUNT = requests
        ActionAuthenticatorMixin.request_count = 0

    def _ask(self, method: str, path: str, body: bytes | None = None) -> None:
        with urllib.request.urlopen(urllib.request.Request(self.url + path, body, method=method), timeout=30):
            pass


def forget_stores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take all that says where a store is, and who we are, out of the environment; loopback is asked for the rest."""
    for name in list(os.environ):
        if name.startswith(VARIABLES) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
