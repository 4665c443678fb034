"""Records of JSON: one a line, or in one array, read as they come."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import islice
from json import JSONDecodeError
from typing import Any, TextIO

from crawler.errors import UsageError

#: Characters that are read at a time, and that one record may have.
_CHUNK, MAX_RECORD = 2**16, 2**24
_BETWEEN = re.compile(r"[\s,\[\]]*")


def json_lines(file: TextIO, start: int = 0) -> Iterator[dict[str, Any] | str]:
    """Give the object of each line after the first `start`, or the line itself where it is none."""
    lines = (line for line in file if not line.isspace())
    for line in islice(lines, start, None):
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            value = None
        yield value if isinstance(value, dict) else line.strip()


def json_array(file: TextIO) -> Iterator[dict[str, Any] | str]:
    """Give the objects of an array, or objects that follow each other; texts as such, and what is neither as JSON.

    Raises UsageError where a record is no JSON, or where there are columns instead of records.
    """
    reader = _Reader(file)
    while reader.more():
        value = reader.value()
        if isinstance(value, dict) and value and all(isinstance(one, (dict, list)) for one in value.values()):
            raise UsageError("it has columns, not records: write it as records, df.to_json(…, orient='records')")
        yield value if isinstance(value, (dict, str)) else json.dumps(value)


class _Reader:
    """A text of JSON values, of which no more is held than one of them, or a piece that was read."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._text = ""
        self._at = 0
        self._ended = False
        self._decode = json.JSONDecoder().raw_decode

    def more(self) -> bool:
        """Go to where the next value begins; False where none does."""
        while True:
            match = _BETWEEN.match(self._text, self._at)
            self._at = match.end() if match else self._at
            if self._at < len(self._text) or self._ended:
                return self._at < len(self._text)
            self._read()

    def value(self) -> Any:
        """Return the value that begins here."""
        while True:
            try:
                value, end = self._decode(self._text, self._at)
            except (JSONDecodeError, RecursionError) as error:
                if self._ended or len(self._text) - self._at > MAX_RECORD or isinstance(error, RecursionError):
                    shown = self._text[self._at : self._at + 60]
                    raise UsageError(
                        f"what begins with {shown!r} is no record of JSON, or longer than {MAX_RECORD:,} characters"
                    ) from error
            else:
                if end < len(self._text) or self._ended or isinstance(value, (dict, list, str)):
                    self._at = end
                    return value  # of a number there may be more to come
            self._read()

    def _read(self) -> None:
        """Read on: twice as much where a value was not whole, so that a long one is not looked at too often."""
        rest = self._text[self._at :]
        piece = self._file.read(max(_CHUNK, len(rest)))
        self._text, self._at, self._ended = rest + piece, 0, not piece
