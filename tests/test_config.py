"""The examples in config/ are what the programs that they are for take."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from crawler.parsing import parse
from crawler.settings import CollectSettings, DownloadSettings
from servers.redis import redis_available, redis_server

CONFIG = Path(__file__).resolve().parent.parent / "config"
UNITS = sorted(path.name for path in CONFIG.glob("crawler-*"))
_PROGRAM = "/opt/crawler/.venv/bin/python"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not here")
@pytest.mark.parametrize("name", UNITS)
def test_systemd_takes_the_units(name: str, tmp_path: Path) -> None:
    for unit in UNITS:
        text = (CONFIG / unit).read_text().replace(_PROGRAM, sys.executable)
        (tmp_path / unit).write_text(text)
    verified = subprocess.run(["systemd-analyze", "verify", tmp_path / name], capture_output=True, text=True)
    assert (verified.returncode, verified.stdout + verified.stderr) == (0, "")


def test_the_units_start_what_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRAWLER_SERVER", "redis://queue.example.com:6379/0")
    doors = {"crawler.collect": CollectSettings, "crawler.download": DownloadSettings}
    started = []
    for unit in UNITS:
        for line in re.findall(r"^ExecStart=(.*)$", (CONFIG / unit).read_text(), re.MULTILINE):
            program, _, door, *flags = shlex.split(
                line.replace("/etc/crawler/crawler.toml", str(CONFIG / "crawler.toml"))
            )
            settings = parse(doors[door], door, "", flags)
            started.append((program, door, settings is not None))
    assert started == [(_PROGRAM, "crawler.collect", True), (_PROGRAM, "crawler.download", True)]


@pytest.mark.skipif(not redis_available(), reason="redis-server is not installed")
def test_redis_takes_its_settings() -> None:
    with redis_server("--include", str(CONFIG / "redis.conf")) as server:
        assert server.process is not None and server.process.poll() is None
