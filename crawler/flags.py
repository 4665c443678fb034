"""The flags of a door: how each is read, and how its help shows it."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Any, Literal, NoReturn, Union, get_args, get_origin, get_type_hints

from crawler.errors import UsageError
from crawler.settings import GROUPS, JOB, Flag, Scale, Settings

_TRUE, _FALSE = frozenset({"1", "true", "yes", "on"}), frozenset({"0", "false", "no", "off"})
_EPILOG = "All settings: --help-all. Each is also a variable (CRAWLER_DEPTH=2) and a key of --config."
_WIDEST_HELP = 100


class Setting:
    """One field of a door's settings: its flag, its variable and its key are read alike."""

    def __init__(self, name: str, hint: object, default: object) -> None:
        self.name = name
        self.flag = "--" + name.replace("_", "-")
        self.default = default
        about: Flag
        annotated, about = get_args(hint)
        self.about = about
        kinds = get_args(annotated) if get_origin(annotated) in (Union, UnionType) else (annotated,)
        self.kind = next(kind for kind in kinds if kind is not type(None))
        self.choices: tuple[str, ...] = get_args(self.kind) if get_origin(self.kind) is Literal else ()
        self.many = get_origin(self.kind) is tuple

    def read(self, text: str) -> object:
        """Return one value; raises ValueError that says what is allowed."""
        if self.about.convert is not None:
            return self.about.convert(text)
        if self.choices and text not in self.choices:
            raise ValueError(f"{text!r} is none of {', '.join(self.choices)}")
        if self.kind is bool:
            return _truth(text)
        try:
            return self.kind(text) if self.kind in (int, float, Path) else text
        except ValueError as error:
            raise ValueError(f"{text!r} is no {'whole ' if self.kind is int else ''}number") from error

    def read_variable(self, text: str) -> object:
        if self.many:
            return tuple(text.splitlines() if self.about.by_line else text.split())
        return self.read(text)

    def read_key(self, value: object) -> object:
        """Return a value of a configuration file, where numbers and truths stand without quotes, and lists may be."""
        if isinstance(value, str):
            return (value,) if self.many else self.read(value)
        if self.many and isinstance(value, list) and all(isinstance(one, str) for one in value):
            return tuple(value)
        allowed = {bool: (bool,), int: (int,), float: (int, float)}.get(self.kind, ())
        if type(value) in allowed:
            return self.kind(value)
        wanted = {bool: "true or false", int: "a whole number", float: "a number"}.get(self.kind, "a text")
        raise ValueError(f"{value!r} is not {'a list of texts' if self.many else wanted}")

    @property
    def placeholder(self) -> str:
        if isinstance(self.about.convert, Scale):
            return self.about.convert.name.upper()
        return "|".join(self.choices) or {int: "N", float: "N", Path: "PATH"}.get(self.kind, "TEXT")

    @property
    def help(self) -> str:
        """Its description, with the default where that is more than none."""
        default = self.default
        if isinstance(self.about.convert, Scale) and isinstance(default, (int, float)) and default:
            default = self.about.convert.show(default)
        elif isinstance(default, float):
            default = f"{default:g}" if default else ""
        shown = f" [{default}]" if default and self.kind is not bool else ""
        return (self.about.help + shown).replace("%", "%%")


def settings_of(kind: type[Settings]) -> dict[str, Setting]:
    """Return what a door, or a file, can be told, by the names of its fields."""
    defaults = kind.defaults()
    hints = get_type_hints(kind, include_extras=True)
    return {name: Setting(name, hints[name], default) for name, default in defaults.items()}


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """Return the content of a file of settings; raises UsageError that calls it `what`."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib

    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{what} {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"{what} {path} is no TOML: {error}") from error


def converted(where: str, read: Callable[[Any], object], value: object) -> object:
    """Return what `read` makes of a value; raises UsageError that says where it stands."""
    try:
        return read(value)
    except ValueError as error:
        raise UsageError(f"{where}: {error}") from error


class CommandLine(argparse.ArgumentParser):
    """Reads the flags of a door; `words` is what it takes beside them, with a sentence about it."""

    def __init__(self, door: str, about: str, settings: Mapping[str, Setting], words: tuple[str, str]) -> None:
        super().__init__(
            prog=door,
            usage=f"{door} [flags]" + (f" [{words[0]}]" if words[0] else ""),
            description=about,
            formatter_class=_formatter,
            add_help=False,
            allow_abbrev=False,
            argument_default=argparse.SUPPRESS,
        )
        self._settings = settings
        self._words = words

    def read(self, arguments: Sequence[str]) -> tuple[dict[str, object], list[str]] | None:
        """Return the values that flags give, and the words beside them; None where only help or version was asked for.

        Raises UsageError.
        """
        self._describe("--help-all" in arguments)
        given, rest = self.parse_known_args(arguments)
        values = vars(given)
        if values.pop("version", False):
            from crawler import __version__

            print(f"crawler {__version__}")
            return None
        if values.pop("help", False):
            self.print_help()
            return None
        for name, value in values.items():
            if self._settings[name].many:
                values[name] = tuple(value)
        return values, self._only_words(rest)

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; {self.prog} --help tells what is allowed")

    def _describe(self, everything: bool) -> None:
        self.epilog = None if everything else _EPILOG
        groups = {group: self.add_argument_group(group) for group in GROUPS}
        groups[JOB].description = ": ".join(self._words) if self._words[0] else None
        for setting in self._settings.values():
            shown = setting.help if everything or setting.about.common else argparse.SUPPRESS
            group = groups[setting.about.group]
            if setting.kind is bool:
                group.add_argument(setting.flag, action="store_true", help=shown)
            else:
                action = "append" if setting.many else "store"
                read = _told(setting.read) if not setting.many else str
                flag = group.add_argument(
                    setting.flag, type=read, metavar=setting.placeholder, action=action, help=shown
                )
                if setting.about.alone is not None:
                    flag.nargs, flag.const = "?", setting.about.alone
        help_group = self.add_argument_group("Help")
        help_group.add_argument("-h", "--help", action="store_true", help="Show the settings that matter most.")
        help_group.add_argument("--help-all", dest="help", action="store_true", help="Show all settings.")
        help_group.add_argument("--version", action="store_true", help="Show the version.")

    def _only_words(self, rest: list[str]) -> list[str]:
        """Return the words of what is no flag; a flag among it is one that nobody knows."""
        end = rest.index("--") if "--" in rest else len(rest)
        for word in rest[:end]:
            if word.startswith("-"):
                from difflib import get_close_matches  # here: who writes no wrong flag need not load it

                flag = word.partition("=")[0]
                close = get_close_matches(flag, [setting.flag for setting in self._settings.values()], 1)
                self.error(f"unknown flag {flag}{f' (did you mean {close[0]}?)' if close else ''}")
        return rest[:end] + rest[end + 1 :]


def _told(read: Callable[[str], object]) -> Callable[[str], object]:
    """Let the library tell what `read` says of a wrong value."""

    def tell(text: str) -> object:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return tell


def _truth(text: str) -> bool:
    if text.lower() not in _TRUE | _FALSE:
        raise ValueError(f"{text!r} is neither true nor false")
    return text.lower() in _TRUE


def _formatter(prog: str) -> argparse.HelpFormatter:
    width = min(shutil.get_terminal_size().columns, _WIDEST_HELP)
    return argparse.HelpFormatter(prog, max_help_position=30, width=width)
