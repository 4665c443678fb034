"""The examples in config/ are what the programs that they are for take."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from crawler.parsing import parse
from crawler.settings import CollectSettings, DownloadSettings, default_state
from programs import needed
from servers.redis import redis_available, redis_server
from units import CONFIG, PYTHON, unit

UNITS = sorted(path.name for path in CONFIG.glob("crawler-*"))
SERVICES = [name for name in UNITS if name.endswith(".service")]
TIMERS = [name for name in UNITS if name.endswith(".timer")]
_DOORS = {"crawler.collect": CollectSettings, "crawler.download": DownloadSettings}


@pytest.mark.parametrize("name", UNITS)
def test_systemd_takes_the_units(name: str, tmp_path: Path) -> None:
    program = needed("systemd-analyze")
    for other in UNITS:
        (tmp_path / other).write_text(unit(other).text.replace(PYTHON, sys.executable))
    verified = subprocess.run([program, "verify", "--man=no", tmp_path / name], capture_output=True, text=True)
    assert (verified.returncode, verified.stdout + verified.stderr) == (0, "")


@pytest.mark.parametrize("name", TIMERS)
def test_the_timers_start_a_service_once_a_day(name: str) -> None:
    assert name.replace(".timer", ".service") in SERVICES
    when = unit(name).text.split("OnCalendar=")[1].splitlines()[0]
    command = [needed("systemd-analyze"), "calendar", "--iterations=3", when]
    said = subprocess.run(command, capture_output=True, text=True, env={"TZ": "UTC", "LC_ALL": "C"})
    assert said.returncode == 0 and said.stdout.count(" 02:30:00 UTC") == 3, said.stdout + said.stderr


@pytest.mark.parametrize("name", SERVICES)
def test_the_units_start_what_there_is(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRAWLER_SERVER", "redis://queue.example.com:6379/0")
    program, _, door, *flags = unit(name).command()
    flags = [str(CONFIG / "crawler.toml") if flag == "/etc/crawler/crawler.toml" else flag for flag in flags]
    assert program == PYTHON and parse(_DOORS[door], door, "", flags) is not None


@pytest.mark.parametrize("name", SERVICES)
def test_what_the_settings_name_may_be_written(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest of the machine is read-only for the units."""
    service = unit(name)
    for variable, value in service.environment.items():
        monkeypatch.setenv(variable, value)
    settings = parse(CollectSettings, "crawler.collect", "", ["--config", str(CONFIG / "crawler.toml")])
    assert settings is not None and settings.log_file is not None
    assert service.values("ProtectSystem") == ["strict"]
    assert [str(default_state())] == [f"/var/lib/{folder}" for folder in service.values("StateDirectory")]
    assert [str(settings.log_file.parent)] == [f"/var/log/{folder}" for folder in service.values("LogsDirectory")]
    assert f"-{settings.output}" in service.values("ReadWritePaths")


@pytest.mark.skipif(not redis_available(), reason="redis-server is not installed")
def test_redis_takes_its_settings() -> None:
    with redis_server("--include", str(CONFIG / "redis.conf")) as server:
        assert server.process is not None and server.process.poll() is None
