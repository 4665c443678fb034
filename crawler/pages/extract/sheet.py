"""Style sheets as documents: their images, and the sheets that they import."""

from __future__ import annotations

import re

from crawler.pages.extract import css
from crawler.pages.extract.document import decode_with
from crawler.pages.extract.links import Gathering

_CHARSET = re.compile(rb'@charset "([^"]{1,40})";')


def read(gathering: Gathering, body: bytes, content_type: str) -> None:
    """Read a style sheet; raises ValueError where it was sent as something else."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind not in ("text/css", "text/plain", "application/octet-stream", ""):
        raise ValueError(f"it is {kind[:80]}, no style sheet")
    declared = _CHARSET.match(body)
    sheet = css.read(decode_with(body, content_type, declared[1].decode("latin-1") if declared else ""))
    for candidates in sheet.images:
        gathering.image(candidates, "sheet")
    for url in sheet.imports:
        gathering.add("sheets", url)
