"""From command line, environment and configuration file to a door's settings."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_type_hints

import cyclopts
from cyclopts import App, Parameter
from cyclopts.config import Dict, Env

from crawler import __version__
from crawler.errors import UsageError
from crawler.settings import (
    ENVIRONMENT,
    JOB,
    KEY_VARIABLE,
    SHOW_ALL,
    CollectSettings,
    Common,
    CrawlSettings,
    DownloadSettings,
    InspectSettings,
    StatusSettings,
)

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

T = TypeVar("T")

_DOORS: tuple[type[Common], ...] = (CrawlSettings, CollectSettings, DownloadSettings, StatusSettings, InspectSettings)


def parse(kind: type[T], door: str, about: str, arguments: Sequence[str]) -> T | None:
    """Return the settings of a door, or None when it only showed its help or version.

    Raises UsageError that names the key, where it stands and what is allowed.
    """
    made: list[T] = []
    arguments = _with_standard_input(arguments)
    known = {entry.name for entry in fields(kind)}  # type: ignore[arg-type]
    app = App(
        name=door,
        help=about,
        version=f"crawler {__version__}",
        help_flags=["--help", "-h", "--help-all"],
        help_format="plaintext",
        config=[Env(ENVIRONMENT, command=False, show=False), *_config_file(arguments, known)],
        help_epilogue=None
        if SHOW_ALL
        else "All settings: --help-all. Each is also a variable (CRAWLER_DEPTH=2) and a key of --config.",
        result_action="return_value",
    )
    _check_environment()

    def remember(*words: str, settings: Any = None) -> None:
        made.append(_with_words(kind() if settings is None else settings, words))

    remember.__annotations__["words"] = Annotated[str, _words_of(kind)]
    remember.__annotations__["settings"] = Annotated[kind, Parameter(name="*")]
    app.default(remember)
    try:
        app(list(arguments), exit_on_error=False, print_error=False)
    except cyclopts.CycloptsError as error:
        raise UsageError(f"{str(error).strip()}\nRun '{door} --help' for what is allowed.") from error
    return made[0] if made else None


def _with_standard_input(arguments: Sequence[str]) -> list[str]:
    """Join `--urls -` to one word: the library takes a single dash for no value."""
    joined: list[str] = []
    for argument in arguments:
        if argument == "-" and joined and joined[-1] == "--urls":
            joined[-1] = "--urls=-"
        else:
            joined.append(argument)
    return joined


def _words_of(kind: type[Any]) -> Parameter:
    """Return how the words beside the flags are shown in the help."""
    if kind is CrawlSettings:
        return Parameter(name="SITES", help="Sites, such as example.com.", group=JOB)
    if kind is StatusSettings:
        return Parameter(name="JOB", help="Show this job's hosts and errors.", group=JOB)
    if kind is InspectSettings:
        return Parameter(name="TARGETS", help="Pages: files, or URLs such as example.com.", group=JOB)
    return Parameter(show=False)


def _with_words(settings: T, words: tuple[str, ...]) -> T:
    if isinstance(settings, DownloadSettings) and not settings.server:
        raise UsageError("the collector is missing: name it with --server HOST or HOST:PORT")
    if isinstance(settings, CrawlSettings):
        return replace(settings, sites=words + settings.sites)
    if isinstance(settings, InspectSettings):
        return replace(settings, targets=words + settings.targets)
    if isinstance(settings, StatusSettings) and len(words) <= 1:
        return replace(settings, job="".join(words) or settings.job)
    if words:
        raise UsageError(f"{words[-1]!r} is not understood; settings are given with flags")
    return settings


def _config_file(arguments: Sequence[str], known: set[str]) -> list[Dict]:
    path = _config_path(arguments)
    if path is None:
        return []
    try:
        content = tomllib.loads(path.read_text())
    except OSError as error:
        raise UsageError(f"the configuration {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"the configuration {path} is no TOML: {error}") from error
    allowed = _all_keys() - {"config"}
    values = {key.replace("-", "_"): value for key, value in content.items()}
    whole = {name for door in _DOORS for name, hint in get_type_hints(door).items() if hint is int}
    for key, value in values.items():
        if key not in allowed:
            raise UsageError(f"{path}: unknown key {key!r}; allowed are {', '.join(sorted(allowed))}")
        if key in whole and isinstance(value, float):
            raise UsageError(f"{path}: {key} = {value}: write a whole number")
    return [Dict({key.replace("_", "-"): v for key, v in values.items() if key in known}, source=str(path))]


def _config_path(arguments: Sequence[str]) -> Path | None:
    for at, argument in enumerate(arguments):
        if argument == "--config" and at + 1 < len(arguments):
            return Path(arguments[at + 1])
        if argument.startswith("--config="):
            return Path(argument.partition("=")[2])
    variable = os.environ.get(ENVIRONMENT + "CONFIG")
    return Path(variable) if variable else None


def _all_keys() -> set[str]:
    return {entry.name for door in _DOORS for entry in fields(door)}


def _check_environment() -> None:
    allowed = {ENVIRONMENT + key.upper() for key in _all_keys()} | {KEY_VARIABLE}
    for name in os.environ:
        if name.startswith(ENVIRONMENT) and name not in allowed:
            raise UsageError(f"unknown variable {name}; allowed are {', '.join(sorted(allowed))}")
