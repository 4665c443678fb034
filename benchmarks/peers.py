"""The tools that are compared: how each is found, and the settings that were the best of those tried for it.

Every tool gets the same list and the same number of connections. None asks robots.txt or waits between requests.
"""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

_HERE = Path(__file__).parent
_PROCESSES = 2


@dataclass(frozen=True)
class Job:
    """What a tool is given: a file with one URL a line, and where its images go; `folder` is free for its own files."""

    urls: Path
    folder: Path
    connections: int

    @property
    def output(self) -> Path:
        return self.folder / "output"

    def named(self) -> list[tuple[str, str]]:
        """Return each URL with a file name of its own."""
        return [(url, url.rpartition("/")[2]) for url in self.urls.read_text().split()]

    def write(self, name: str, lines: list[str]) -> str:
        """Write a file of the tool's own, and return its path."""
        path = self.folder / name
        path.write_text("".join(f"{line}\n" for line in lines))
        return str(path)


class Origin(Protocol):
    """Where a tool comes from."""

    @property
    def cure(self) -> str:
        """What installs it."""

    def find(self, data: Path) -> str | None:
        """Return the program, or the Python that has it; None where it is not installed."""

    def version(self, program: str) -> str:
        """Return the version of what was found."""


@dataclass(frozen=True)
class Program:
    """A program of a Debian package of the same name."""

    name: str
    package: str

    @property
    def cure(self) -> str:
        return f"apt-get install {self.package}"

    def find(self, data: Path) -> str | None:
        return shutil.which(self.name)

    def version(self, program: str) -> str:
        said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
        number = re.search(r"\d+(\.\d+)+", said.stdout + said.stderr)
        return number[0] if number else "?"


@dataclass(frozen=True)
class Installed:
    """A distribution in an environment of its own below the data directory."""

    name: str
    beside: tuple[str, ...] = ()

    @property
    def cure(self) -> str:
        return "make bench-peers"

    def environment(self, data: Path) -> Path:
        return data / "environments" / self.name

    def find(self, data: Path) -> str | None:
        python = self.environment(data) / "bin" / "python"
        return str(python) if python.exists() and self.version(str(python)) else None

    def version(self, program: str) -> str:
        code = f"import importlib.metadata as m; print(m.version({self.name!r}))"
        return subprocess.run([program, "-c", code], capture_output=True, text=True, check=False).stdout.strip()


@dataclass(frozen=True)
class Here:
    """A distribution of the environment that runs this."""

    name: str

    @property
    def cure(self) -> str:
        return "pip install --editable ."

    def find(self, data: Path) -> str | None:
        try:
            importlib.metadata.version(self.name)
        except importlib.metadata.PackageNotFoundError:
            return None
        return sys.executable

    def version(self, program: str) -> str:
        return f"{self.name} {importlib.metadata.version(self.name)}"


@dataclass(frozen=True)
class Tool:
    """A tool: `command` of the program and a job; it gets the `first` URLs of a list only where it is slow.

    `images` is where its images lie below the job's output, `why` says what its settings are and why. What it stores
    are the server's bytes, unless they are `encoded` again.
    """

    name: str
    origin: Origin
    command: Callable[[str, Job], list[str]]
    why: str
    images: str = "*.jpg"
    first: int | None = None
    encoded: bool = False


def _crawler(python: str, job: Job) -> list[str]:
    return [
        *[python, "-m", "crawler", "--urls", str(job.urls), "--job", "bench", "--quiet"],
        *["--output", str(job.output), "--state", str(job.folder / "state")],
        *["--allow-net", "127.0.0.0/8", "--ignore-robots", "--requests-per-host", str(job.connections)],
        *["--processes", str(_PROCESSES), "--connections", str(job.connections // _PROCESSES)],
    ]


def _bare(python: str, job: Job) -> list[str]:
    return [python, str(_HERE / "bare.py"), str(job.urls), str(job.output), "--connections", str(job.connections)]


def _floor(python: str, job: Job) -> list[str]:
    return [python, str(_HERE / "floor.py"), str(job.urls), str(job.output), "--connections", str(job.connections)]


def _naive(python: str, job: Job) -> list[str]:
    return [python, str(_HERE / "naive.py"), str(job.urls), str(job.output)]


def _curl(program: str, job: Job) -> list[str]:
    lines = [f'url = "{url}"\noutput = "{job.output / name}"' for url, name in job.named()]
    config = job.write("curl.conf", lines)
    # -q as the first word: no configuration of the user's.
    quiet = [program, "-q", "--no-progress-meter", "--create-dirs"]
    return [*quiet, "--parallel", "--parallel-max", str(job.connections), "--config", config]


def _wget2(program: str, job: Job) -> list[str]:
    fetched = ["--max-threads", str(job.connections), "--input-file", str(job.urls)]
    return [program, "--quiet", *fetched, "--force-directories", "--directory-prefix", str(job.output)]


def _aria2c(program: str, job: Job) -> list[str]:
    listed = job.write("aria2.txt", [f"{url}\n  out={name}" for url, name in job.named()])
    return [
        *[program, "--no-conf", "--quiet", "--input-file", listed, "--dir", str(job.output), "--deferred-input=true"],
        *["--max-concurrent-downloads", str(job.connections), "--max-connection-per-server=1", "--async-dns=false"],
        *["--file-allocation=none", "--auto-save-interval=0", "--allow-overwrite=true", "--auto-file-renaming=false"],
        "--max-download-result=0",
    ]


def _img2dataset(python: str, job: Job) -> list[str]:
    shard = -(-len(job.named()) // _PROCESSES)
    return [
        *["env", "NO_ALBUMENTATIONS_UPDATE=1", str(Path(python).with_name("img2dataset")), str(job.urls)],
        *["--input_format=txt", "--output_format=files", f"--output_folder={job.output}", "--extract_exif=False"],
        *["--resize_mode=no", "--disable_all_reencoding=True", f"--number_sample_per_shard={shard}"],
        *[f"--processes_count={_PROCESSES}", f"--thread_count={job.connections}"],
    ]


def _gallery_dl(python: str, job: Job) -> list[str]:
    program = str(Path(python).with_name("gallery-dl"))
    quiet = [program, "--config-ignore", "--quiet", "--option", "cache.file=null"]
    return [*quiet, "--no-mtime", "--no-part", "--input-file", str(job.urls), "--directory", str(job.output)]


def _icrawler(python: str, job: Job) -> list[str]:
    threads = ["--threads", str(job.connections)]
    return [python, str(_HERE / "icrawler_list.py"), str(job.urls), str(job.output), *threads]


def _scrapy(pipeline: str) -> Callable[[str, Job], list[str]]:
    def command(python: str, job: Job) -> list[str]:
        fetched = [pipeline, str(job.urls), str(job.output), "--connections", str(job.connections)]
        return [python, str(_HERE / "scrapy_list.py"), *fetched]

    return command


OURS = "ours"
_SCRAPY = Installed("scrapy", beside=("pillow",))

TOOLS = (
    Tool(
        OURS,
        Here("distributed-image-crawler"),
        _crawler,
        "as it is: a durable queue, every image hashed, verified and recorded; loopback allowed, two processes that "
        "share the connections, a host allowed as many requests as there are connections",
        images="bench/**/*.jpeg",
    ),
    Tool(
        "bare",
        Here("pycurl"),
        _bare,
        "two processes of bare.py: hashed, written beside and renamed; perform and select were no slower than "
        "socket_action over epoll",
    ),
    Tool(
        "floor",
        Here("pycurl"),
        _floor,
        "two processes of floor.py: as bare, and a queue on disk, structure checked, a ledger; files by os.open and "
        "os.rename in one directory",
    ),
    Tool(
        "curl",
        Program("curl", "curl"),
        _curl,
        "one process, --parallel; --parallel-immediate was a little slower, more connections no faster",
    ),
    Tool(
        "wget2",
        Program("wget2", "wget2"),
        _wget2,
        "a thread a connection; fewer threads were no faster; directories as on the server keep names unique",
        images="*/*/*.jpg",
    ),
    Tool(
        "aria2c",
        Program("aria2c", "aria2"),
        _aria2c,
        "a connection a file; control files, name checks and reading the list ahead are off: three times as fast",
    ),
    Tool(
        "img2dataset",
        Installed("img2dataset"),
        _img2dataset,
        "two processes with a shard each, a thread a connection in each; neither resized nor encoded again; no EXIF. "
        "It starts for seconds, so it gets whole lists",
        images="*/*.jpg",
    ),
    Tool(
        "scrapy-files",
        _SCRAPY,
        _scrapy("files"),
        "FilesPipeline, an item a URL; no delay, no cookies, as many requests as connections",
        images="full/*.jpg",
        first=4_000,
    ),
    Tool(
        "scrapy-images",
        _SCRAPY,
        _scrapy("images"),
        "ImagesPipeline, with the same settings; it decodes each image and encodes it again",
        images="full/*.jpg",
        first=2_000,
        encoded=True,
    ),
    Tool(
        "icrawler",
        Installed("icrawler"),
        _icrawler,
        "a thread a connection; fewer were no faster; it waits for 0.2 s at its end instead of five",
        first=2_000,
    ),
    Tool(
        "gallery-dl",
        Installed("gallery-dl"),
        _gallery_dl,
        "one after another, it has nothing else; no part files and times of files",
        first=2_000,
    ),
    Tool(
        "naive",
        Here("requests"),
        _naive,
        "naive.py: a manager's queue, one task a call, two processes with a requests.Session each",
        first=4_000,
    ),
)
