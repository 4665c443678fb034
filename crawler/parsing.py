"""From command line, environment and configuration file to a door's settings."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from crawler.brokers.redis import REDIS_PASSWORD_VARIABLE
from crawler.errors import UsageError
from crawler.flags import CommandLine, Setting, converted, read_toml, settings_of
from crawler.settings import (
    ENVIRONMENT,
    KEY_VARIABLE,
    CollectSettings,
    Common,
    CrawlSettings,
    DownloadSettings,
    ExportSettings,
    ForgetSettings,
    InspectSettings,
    StatusSettings,
    changed,
)
from crawler.targets import names_image

S = TypeVar("S", bound=Common)

_DOORS: tuple[type[Common], ...] = (
    CrawlSettings, CollectSettings, DownloadSettings, StatusSettings, ExportSettings, InspectSettings, ForgetSettings,
)  # fmt: skip
#: What doors take beside flags.
_WORDS: dict[type[Common], tuple[str, str]] = {
    CrawlSettings: ("SITES", "one or more, such as example.com"),
    StatusSettings: ("JOB|FILE|URL|SHA256", "show a job's hosts and errors, or where an image is from"),
    ExportSettings: ("FILE|DIR|URL", "what to write; a table without it goes to standard output"),
    InspectSettings: ("TARGETS", "pages, as files or as URLs such as example.com"),
}


def parse(kind: type[S], door: str, about: str, arguments: Sequence[str]) -> S | None:
    """Return the settings of a door, or None when it only showed its help or version.

    Raises UsageError that names the key, where it stands and what is allowed.
    """
    settings = settings_of(kind)
    read = CommandLine(door, about, settings, _WORDS.get(kind, ("", ""))).read(arguments)
    if read is None:
        return None
    flags, words = read
    values = _from_environment(settings) | flags
    path = values.get("config")
    if isinstance(path, Path):
        values = _from_file(path, settings) | values
    return _with_words(kind(**values), tuple(words))


def _from_environment(settings: Mapping[str, Setting]) -> dict[str, Any]:
    known = {ENVIRONMENT + key.upper() for key in _all_keys()} | {KEY_VARIABLE, REDIS_PASSWORD_VARIABLE}
    for name in os.environ:
        if name.startswith(ENVIRONMENT) and name not in known:
            raise UsageError(f"unknown variable {name}; allowed are {', '.join(sorted(known))}")
    variables = {name: ENVIRONMENT + name.upper() for name, known in settings.items() if not known.about.flag_only}
    return {
        name: converted(variable, settings[name].read_variable, os.environ[variable])
        for name, variable in variables.items()
        if variable in os.environ
    }


def _from_file(path: Path, settings: Mapping[str, Setting]) -> dict[str, Any]:
    content = read_toml(path, "the configuration")
    allowed = _all_keys() - {"config"}
    values = {key.replace("-", "_"): value for key, value in content.items()}
    for key in values:
        if key not in allowed:
            raise UsageError(f"{path}: unknown key {key!r}; allowed are {', '.join(sorted(allowed))}")
    return {
        key: converted(f"{path}: {key}", settings[key].read_key, value)
        for key, value in values.items()
        if key in settings and not settings[key].about.flag_only
    }


def _all_keys() -> set[str]:
    return {name for door in _DOORS for name in door.defaults()}


def _with_words(settings: S, words: tuple[str, ...]) -> S:
    if isinstance(settings, DownloadSettings) and not settings.server:
        raise UsageError("the collector is missing: name it with --server HOST or HOST:PORT")
    if isinstance(settings, CrawlSettings):
        return changed(settings, sites=words + settings.sites)
    if isinstance(settings, InspectSettings):
        return changed(settings, targets=words + settings.targets)
    if isinstance(settings, StatusSettings) and len(words) <= 1:
        word = "".join(words)
        return changed(settings, image=word) if names_image(word) else changed(settings, job=word or settings.job)
    if isinstance(settings, ExportSettings) and len(words) == 1 and not settings.output:
        return changed(settings, output=words[0])
    if words:
        raise UsageError(f"{words[-1]!r} is not understood; settings are given with flags")
    return settings
