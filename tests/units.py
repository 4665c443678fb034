"""The units of `config/` read as systemd reads them, as far as ours go."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

CONFIG = Path(__file__).resolve().parent.parent / "config"
PYTHON = "/opt/crawler/.venv/bin/python"


@dataclass(frozen=True)
class Unit:
    """A unit's text; of a setting that stands several times all values count."""

    text: str

    def values(self, name: str) -> list[str]:
        """Return what a setting lists, quotes taken off; `[]` where it is not there."""
        lines = re.findall(rf"^{name}=(.*)$", self.text, re.MULTILINE)
        return [value for line in lines for value in shlex.split(line)]

    @property
    def environment(self) -> dict[str, str]:
        """Return the variables that the unit itself sets."""
        return dict(variable.split("=", 1) for variable in self.values("Environment"))

    def command(self, **places: str) -> list[str]:
        """Return what is started, with `places` for variables: `${NAME}` is one word, `$NAME` as many as it has."""
        words: list[str] = []
        for word in self.values("ExecStart"):
            if re.fullmatch(r"\$\w+", word):
                words += places[word[1:]].split()
            else:
                words.append(re.sub(r"\$\{(\w+)\}", lambda match: places[match[1]], word))
        return words

    def is_success(self, code: int) -> bool:
        """Tell whether systemd takes an exit code for a good end (systemd.service, SuccessExitStatus)."""
        return code == 0 or str(code) in self.values("SuccessExitStatus")


def unit(name: str) -> Unit:
    return Unit((CONFIG / name).read_text())
