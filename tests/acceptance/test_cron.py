"""The command of `config/crontab` as cron runs it: `/bin/sh -c` in an almost empty environment, with no terminal."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from acceptance.here import asked, page, wait_for
from servers.faulty import FaultySite
from servers.pictures import png

ROOT = Path(__file__).parents[2]


class Cron:
    """Runs the job of the crontab with the paths and sites of the test in the places of those that it shows."""

    def __init__(self, folder: Path, *sites: FaultySite) -> None:
        self.home, self.output, self.log = folder / "home", folder / "images", folder / "crawler.log"
        self.home.mkdir()
        settings = (ROOT / "config" / "crawler.toml").read_text()
        for shown, ours in (("/srv/images", self.output), ("/var/log/crawler/crawler.log", self.log)):
            assert shown in settings
            settings = settings.replace(shown, str(ours))
        (folder / "crawler.toml").write_text(settings + 'allow_net = ["127.0.0.0/8"]\n')
        lines = (ROOT / "config" / "crontab").read_text().splitlines()
        (job,) = [line for line in lines if line[:1].isdigit()]
        self.command = job.split(maxsplit=5)[5]
        for shown, there in (
            ("/opt/crawler/.venv/bin/python", sys.executable),
            ("/opt/crawler/config/crawler.toml", str(folder / "crawler.toml")),
            ("https://example.com https://example.org", " ".join(site.url for site in sites)),
        ):
            assert shown in self.command
            self.command = self.command.replace(shown, there)
        assert "%" not in self.command, "cron makes a new line of it"

    def start(self) -> subprocess.Popen[str]:
        environment = {"HOME": self.home, "LOGNAME": "root", "PATH": "/usr/bin:/bin", "SHELL": "/bin/sh"}
        environment["PYTHONPATH"] = ROOT  # instead of an installation
        names = [f"{name}={value}" for name, value in environment.items()]
        return subprocess.Popen(
            ["env", "-i", *names, "/bin/sh", "-c", self.command], cwd=self.home, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def run(self) -> tuple[int, str, str]:
        process = self.start()
        out, errors = process.communicate(timeout=60)
        return process.returncode, out, errors


@pytest.fixture
def sites() -> Iterator[tuple[FaultySite, FaultySite]]:
    with FaultySite() as one, FaultySite("127.0.0.2") as two:
        for site in (one, two):
            site.add("/", page(*[f"/i/{n}.png" for n in range(8)]), "text/html")
            for n in range(8):
                site.slow(f"/i/{n}.png", png(n), 1.0 if n == 7 else 0.0)
        yield one, two


def test_a_night_and_the_next(tmp_path: Path, sites: tuple[FaultySite, FaultySite]) -> None:
    cron = Cron(tmp_path, *sites)
    code, out, errors = cron.run()
    assert (code, out) == (0, ""), errors
    lines = errors.splitlines()
    assert "run 1 finished" in lines[0] and len(lines) == 6, "the mail is the summary and nothing else"
    assert lines[5].startswith("  report  ") and Path(lines[5].split()[1]).is_file()
    assert "16 success" in errors and len(list(cron.output.rglob("*.png"))) == 16
    assert cron.log.read_text() == ""
    sites[1].add("/", "gone", "text/plain", 404)
    code, out, errors = cron.run()
    assert (code, out) == (1, ""), "a site whose first page failed is worth reading a mail"
    assert errors.startswith(f"! {sites[1].url}/: its first page failed: http_404\n") and "run 2 finished" in errors
    assert len(asked(sites[0])) == 8, "what is there is not fetched again"


def test_a_second_start_leaves_the_first_alone(tmp_path: Path, sites: tuple[FaultySite, FaultySite]) -> None:
    for n in range(8):
        sites[0].slow(f"/i/{n}.png", png(n), 6.0)
    cron = Cron(tmp_path, *sites)
    first = cron.start()
    wait_for(lambda: asked(sites[0]))
    for _ in range(3):
        code, out, errors = cron.run()
        assert code == 75 and out == "" and "is running already" in errors and errors.count("\n") == 1
    assert first.poll() is None, "the others were refused while it went on"
    _, errors = first.communicate(timeout=30)
    assert first.returncode == 0, errors
