"""What every door does: read its settings, set up the log, work, and turn errors into a message and an exit code."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

from crawler import logs
from crawler.errors import CrawlerError
from crawler.parsing import parse
from crawler.settings import Common
from crawler.shown import shown

S = TypeVar("S", bound=Common)


def enter(kind: type[S], program: str, about: str, work: Callable[[S], int], arguments: Sequence[str]) -> int:
    """Do `work` with the settings that the command line, the environment and the file give; return the exit code."""
    try:
        settings = parse(kind, program, about, arguments)
        gc.freeze()  # what it took is not looked through at the end: 8 of 46 ms of a `--help`
        if settings is None:
            return 0
        logs.set_up(settings.log_file, settings.quiet)
        return work(settings)
    except CrawlerError as error:
        print(f"crawler: {shown(str(error))}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # who reads us has seen enough, such as `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
