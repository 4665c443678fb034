"""The real commands against a real local server with faults; processes are killed for real."""

from __future__ import annotations

import fcntl
import os
import random
import signal
import time
from pathlib import Path

import pytest

from acceptance.here import OPEN, Here, asked, children, page, wait_for
from servers.faulty import FaultySite
from servers.pictures import gif, jpeg, png
from servers.ports import free_port


def test_every_fault_has_its_outcome(here: Here) -> None:
    with FaultySite() as site, FaultySite("127.0.0.2") as other, FaultySite("127.0.0.3") as closed:
        good, whole = png(1), jpeg(2)
        site.add("/robots.txt", "User-agent: *\nDisallow: /private/\n", "text/plain")
        images = ["/good.png", "/missing.png", "/busy.png", "/flaky.jpg", "/cut.jpg", "/cut-once.jpg", "/moved.png"]
        images += ["/away.png", "/circle.png", "/page.jpg", "/private/a.png", closed.url + "/a.png"]
        site.add("/", page(*images, links=("/two.html", "/private/b.html")), "text/html")
        site.add("/two.html", page("/good.png", "/twin.png"), "text/html")
        site.add("/good.png", good)
        site.add("/twin.png", good)
        site.retry_after("/busy.png", png(3), value="1")
        site.fail_then("/flaky.jpg", [500], whole)
        site.cut("/cut.jpg", jpeg(4), 6000)
        site.cut_then("/cut-once.jpg", jpeg(5), 6000)
        site.redirect("/moved.png", "/good.png")
        site.redirect("/away.png", other.url + "/there.png")
        other.add("/there.png", gif(6))
        site.redirect("/circle.png", "/elcric.png")
        site.redirect("/elcric.png", "/circle.png")
        site.add("/page.jpg", "<!doctype html><p>no image", "image/jpeg")
        site.add("/private/a.png", png(7))
        closed.add("/robots.txt", "busy", status=500)
        closed.add("/a.png", png(8))
        code, _, errors = here.crawl(site.url)
        kept, failed = here.rows("metadata.jsonl"), here.rows("failures.jsonl")
        paths = {"/good.png", "/twin.png", "/busy.png", "/flaky.jpg", "/cut-once.jpg", "/moved.png", "/away.png"}
        assert set(kept) == {site.url + path for path in paths}, errors
        assert {url: row["outcome"] for url, row in failed.items()} == {
            site.url + "/missing.png": "http_404",
            site.url + "/cut.jpg": "truncated",
            site.url + "/circle.png": "too_many_redirects",
            site.url + "/page.jpg": "not_an_image",
            site.url + "/private/a.png": "robots_denied",
            closed.url + "/a.png": "robots_unreachable",
        }
        assert code == 1  # more than a fifth failed
        assert kept[site.url + "/good.png"]["mentions_total"] == 2
        assert kept[site.url + "/twin.png"]["same_as"] == kept[site.url + "/good.png"]["file_name"]
        assert kept[site.url + "/away.png"]["final_url"] == other.url + "/there.png"
        assert site.most_at_once <= 8
        assert not [r for r in site.requests if r.path.startswith("/private")]
        assert not [r for r in closed.requests if r.path != "/robots.txt"]
        assert here.is_clean()
        before = len([r for r in site.requests if r.path == "/good.png"])
        here.crawl(site.url)
        assert len([r for r in site.requests if r.path == "/good.png"]) == before, "it is there already"


def test_a_delay_is_kept_over_all_workers(here: Here) -> None:
    with FaultySite() as site:
        site.add("/", page(*[f"/{n}.png" for n in range(6)]), "text/html")
        for n in range(6):
            site.add(f"/{n}.png", png(n))
        code, _, errors = here.crawl(site.url, "--delay", "0.2")
        assert code == 0, errors
        assert len(here.rows("metadata.jsonl")) == 6
        assert site.most_at_once == 1
        assert min(site.gaps()) >= 0.2


def test_a_private_address_names_the_flag(here: Here) -> None:
    with FaultySite() as site:
        site.add("/", page("/a.png"), "text/html")
        code, _, errors = here.run("crawler", site.url, "--output", str(here.output))
        assert code == 1
        assert "--allow-net 127.0.0.1/32" in errors
        assert not site.requests


def test_no_image_has_a_reason(here: Here) -> None:
    with FaultySite() as site:
        site.add("/", "<!doctype html><script>build()</script><a href='http://127.0.0.9/'>x</a>", "text/html")
        _, _, errors = here.crawl(site.url)
        assert "1 page names no images but runs scripts; rendering is not supported yet" in errors
        assert "out of the scope" in errors


def test_machines(here: Here, gallery: FaultySite) -> None:
    for p in range(20):  # slow enough for both workers to be there in time
        for n in range(60):
            gallery.slow(f"/i/{p}-{n}.png", png(p * 60 + n), 0.03)
    port = str(free_port())
    flags = ["--site", gallery.url, "--listen", f"127.0.0.1:{port}", "--job", "j", "--output", str(here.output)]
    workers = [here.start("crawler.download", "--server", f"127.0.0.1:{port}", "--processes", "1") for _ in range(2)]
    time.sleep(2.0)  # they wait for the collector
    collect = here.start("crawler.collect", *flags, *OPEN)
    wait_for(lambda: gallery.requests)
    code, _, errors = here.run("crawler.collect", *flags, *OPEN)
    assert code == 75 and "running already" in errors
    out, errors = collect.communicate(timeout=90)
    assert collect.returncode == 0, errors
    assert [worker.wait(20) for worker in workers] == [0, 0]
    lines = out.splitlines()
    assert sorted(lines) == sorted(f"{gallery.url}/i/{p}-{n}.png--->success" for p in range(20) for n in range(60))
    assert len({row["worker"] for row in here.rows("metadata.jsonl").values()}) == 2
    assert here.is_clean()


def test_a_reader_of_the_lines_may_leave(here: Here, gallery: FaultySite) -> None:
    flags = ["--site", gallery.url, "--listen", f"127.0.0.1:{free_port()}", "--job", "j", "--output", str(here.output)]
    collect = here.start("crawler.collect", *flags, *OPEN, "--processes", "1")
    assert collect.stdout is not None and collect.stderr is not None
    assert collect.stdout.readline()
    collect.stdout.close()
    errors = collect.stderr.read()
    assert collect.wait(60) == 0 and "nobody reads" in errors and "Traceback" not in errors
    assert len(here.rows("metadata.jsonl")) == 1200


def test_a_reader_of_the_lines_that_takes_its_time_holds_nothing_up(here: Here, gallery: FaultySite) -> None:
    flags = ["--site", gallery.url, "--listen", f"127.0.0.1:{free_port()}", "--job", "j", "--output", str(here.output)]
    collect = here.start("crawler.collect", *flags, *OPEN, "--processes", "1")
    assert collect.stdout is not None
    fcntl.fcntl(collect.stdout, fcntl.F_SETPIPE_SZ, 4096)
    wait_for(lambda: len(asked(gallery)) == 1200)
    collect.send_signal(signal.SIGINT)
    assert collect.wait(20) == 130
    read = collect.stdout.read().splitlines()
    assert 0 < len(read) < 200
    code, out, errors = here.run("crawler.collect", *flags, *OPEN, "--processes", "1")
    assert code == 0, errors
    every = {f"{gallery.url}/i/{p}-{n}.png--->success" for p in range(20) for n in range(60)}
    assert every <= {*read, *out.splitlines()}


def test_troubles_of_a_worker_have_their_messages(here: Here, gallery: FaultySite, tmp_path: Path) -> None:
    port = free_port()
    server = ["--server", f"127.0.0.1:{port}"]
    code, _, errors = here.run("crawler.download", *server, "--wait", "0.5")
    assert code == 69 and "nothing listens at" in errors
    code, _, errors = here.run("crawler.download", "--server", "no-such-host.invalid", "--wait", "0.5")
    assert code == 69 and "is not known" in errors
    listen = ["--listen", f"127.0.0.1:{port}", "--output", str(here.output), "--job", "j"]
    here.start("crawler.collect", "--site", gallery.url, *listen, *OPEN)
    key = tmp_path / "other-key"
    key.write_text("f" * 64)
    key.chmod(0o600)
    began = time.monotonic()
    code, _, errors = here.run("crawler.download", *server, "--key-file", str(key))
    while "nothing listens" in errors and time.monotonic() - began < 20:
        code, _, errors = here.run("crawler.download", *server, "--key-file", str(key))
    assert code == 2 and "another key" in errors
    code, _, errors = here.run("crawler.download", *server, "--output", str(tmp_path / "elsewhere"))
    assert code == 2 and "mount" in errors.lower() and "--keep-local" in errors
    code, _, errors = here.run("crawler.download", *server, "--output", str(tmp_path / "mine"), "--keep-local")
    assert code == 0, errors
    assert len(list((tmp_path / "mine").rglob("*.png"))) == 1200


#: Of a run that is not over when it is to be stopped: 1,200 images can take a tenth of a second.
SLOW = ("--delay", "0.01")


@pytest.mark.parametrize("to_all", [False, True], ids=["door", "group"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_stops_and_the_same_command_goes_on(
    here: Here, gallery: FaultySite, number: signal.Signals, code: int, to_all: bool
) -> None:
    """To the door alone as by `kill`, or to its whole process group as by Ctrl-C and systemd."""
    door = here.start("crawler", *here.job(gallery.url, *SLOW), start_new_session=to_all)
    wait_for(lambda: len(gallery.requests) > 100)
    (os.killpg if to_all else os.kill)(door.pid, number)
    _, errors = door.communicate(timeout=60)
    assert door.returncode == code, errors
    assert "the same command goes on" in errors and "starting it again" not in errors
    assert here.crawl(gallery.url)[0] == 0
    assert len(here.rows("metadata.jsonl")) == 1200
    assert len([r for r in gallery.requests if r.path.startswith("/i/")]) == 1200, "nothing was fetched twice"
    assert here.is_clean()


@pytest.mark.parametrize("delay", [0.0, 0.2, 0.4, 0.8])
def test_a_signal_while_it_starts_leaves_no_traceback(here: Here, gallery: FaultySite, delay: float) -> None:
    door = here.start("crawler", *here.job(gallery.url, *SLOW), start_new_session=True)
    wait_for(lambda: (here.state / "j").exists())  # before, the interpreter itself may be starting
    time.sleep(delay)
    os.killpg(door.pid, signal.SIGINT)
    _, errors = door.communicate(timeout=60)
    assert door.returncode == 130 and "Traceback" not in errors, errors
    assert here.crawl(gallery.url)[0] == 0


def test_kills(here: Here, gallery: FaultySite) -> None:
    """The door, one of its processes, or all of them are killed at random moments; then it goes on to the end."""
    chance = random.Random(7)
    flags = ["--job", "j", "--output", str(here.output), "--lease", "3", *OPEN]
    for round_number in range(6):
        door = here.start("crawler", gallery.url, *flags)
        wait_for(lambda: len(children(door.pid)) >= 4 or door.poll() is not None)  # noqa: B023
        time.sleep(chance.uniform(0.3, 1.2))
        alive = children(door.pid)
        victims = [door.pid] if round_number % 3 == 0 else alive if round_number % 3 == 1 else [door.pid, *alive]
        for victim in victims if round_number < 4 else [chance.choice(alive)] if alive else []:
            try:
                os.kill(victim, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if round_number >= 4:
            time.sleep(1.0)
            door.kill()
        door.communicate(timeout=30)
    code, _, errors = here.crawl(gallery.url, "--lease", "3", seconds=120)
    assert code == 0, errors
    assert len(here.rows("metadata.jsonl")) == 1200 and not here.rows("failures.jsonl")
    assert here.is_clean()


def test_a_list_with_captions(here: Here, gallery: FaultySite) -> None:
    path = here.folder / "list.csv"
    rows = [f"{gallery.url}/i/{p}-{n}.png,caption {n},{p}" for p in range(20) for n in range(60)]
    path.write_text("\n".join(["url,text,page", *rows, "nonsense,x,y"]) + "\n")
    code, _, errors = here.crawl("--urls", str(path), "--caption-column", "text")
    assert code == 0, errors
    assert "1 bad_url" in errors
    kept = here.rows("metadata.jsonl")
    assert len(kept) == 1200
    mention = kept[f"{gallery.url}/i/3-4.png"]["mentions"][0]
    assert (mention["caption"], mention["columns"]) == ("caption 4", {"page": "3"})


def test_settings_are_checked(here: Here, tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text("dept = 1\n")
    for arguments, message in (
        (["example.com", "--config", str(config)], "unknown key 'dept'"),
        (["example.com", "--dept", "1"], "--dept"),
        ([], "nothing to crawl"),
        (["example.com", "--allow-net", "nonsense"], "--allow-net"),
    ):
        code, _, errors = here.run("crawler", *arguments)
        assert code == 2 and message in errors and "Traceback" not in errors
    code, out, _ = here.run("crawler.collect", "--help")
    assert code == 0 and max(map(len, out.splitlines())) <= 80
