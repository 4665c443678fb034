"""Which image files the pages and style sheets of a folder name, found by other means than the crawler's reader.

`html.parser` of the standard library for tags and attributes, regular expressions for style sheets, and the files
themselves instead of requests: `python tests/references.py /usr/share/doc/lilypond/html` prints the list.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from posixpath import normpath
from urllib.parse import quote, unquote, urljoin, urlsplit

IMAGE = re.compile(r"\.(png|apng|jpe?g|jpe|jfif|gif|svgz?|webp|bmp|ico|avif|tiff?|heic|heif|jxl)$", re.IGNORECASE)
_PAGE = re.compile(r"\.x?html?$", re.IGNORECASE)
_SITE = "http://site"

_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_FONT = re.compile(r"@font-face\s*\{[^}]*\}", re.IGNORECASE)
_IMPORT = re.compile(r"""@import\s*(?:url\(\s*)?["']?([^"')\s;]+)""", re.IGNORECASE)
_URL = re.compile(r"""\burl\(\s*("[^"]*"|'[^']*'|[^)"']*?)\s*\)""", re.IGNORECASE)
_SET = re.compile(r"""image-set\(((?:[^()]|\([^()]*\))*)\)""", re.IGNORECASE)
_STRING = re.compile(r""""[^"]*"|'[^']*'""")
_CANDIDATE = re.compile(r"\s*,*\s*(\S*[^\s,])(?:\s+[^\s,(][^,]*)?\s*(?:,|$)")
_REFRESH = re.compile(r"""^[^;,]*[;,]\s*url\s*=\s*["']?([^"']+)""", re.IGNORECASE)

#: What an element shows or links as an image, whatever its name: a file that is not there is a broken reference.
_SHOWN = frozenset(
    "img@src img@lowsrc image@src image@href image@xlink:href feimage@href feimage@xlink:href video@poster "
    "body@background table@background thead@background tbody@background tfoot@background tr@background td@background "
    "th@background".split()
)
#: Attributes that hold URLs: one that is named as an image and is not there is broken as well.
_REFERENCES = frozenset("src href xlink:href data poster background content".split())
#: Attributes that hold words, though the words may be a file's name.
_WORDS = frozenset("alt title name id class value download for label summary tooltip aria-label property".split())
_FRAMES = frozenset({"a", "area", "frame", "iframe", "link"})


@dataclass
class References:
    """Paths relative to the root: image files, and references to what is no file, each with the files that name it."""

    images: dict[str, set[str]] = field(default_factory=dict)
    broken: dict[str, set[str]] = field(default_factory=dict)
    pages: set[str] = field(default_factory=set)
    sheets: set[str] = field(default_factory=set)


class _Reader(HTMLParser):
    """What one page names, as written: images (with whether they surely are), pages, style sheets, and its base."""

    def __init__(self) -> None:
        super().__init__()
        self.images: list[tuple[str, bool]] = []
        self.pages: list[str] = []
        self.sheets: list[str] = []
        self.base = ""
        self._style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._style = tag == "style"
        values = {name: value.strip() for name, value in reversed(attrs) if value}
        if tag == "base":
            self.base = self.base or values.get("href", "")
            return
        if tag == "link" and "stylesheet" in values.get("rel", "").lower().split():
            self.sheets.append(values.get("href", ""))
            return
        if tag in _FRAMES:
            self.pages += [values[name] for name in ("href", "src") if name in values]
        if tag == "meta" and (refresh := _REFRESH.match(values.get("content", ""))):
            self.pages.append(refresh[1].strip())
        icon = tag == "link" and "icon" in values.get("rel", "").lower()
        button = tag == "input" and values.get("type", "").lower() == "image"
        drawn = tag in ("object", "embed") and values.get("type", "").lower().startswith("image/")
        for name, value in values.items():
            if "url(" in value.lower() or "image-set(" in value.lower():
                self._read_style(value)
            elif name.endswith("srcset"):
                self.images += [(url, True) for url in _CANDIDATE.findall(value)]
            elif (
                f"{tag}@{name}" in _SHOWN
                or (icon and name == "href")
                or (button and name == "src")
                or (drawn and name in ("data", "src"))
            ):
                self.images.append((value, True))
            elif name not in _WORDS and IMAGE.search(_path(value)):
                self.images.append((value, name in _REFERENCES))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self._style = False

    def handle_endtag(self, tag: str) -> None:
        self._style = False

    def handle_data(self, data: str) -> None:
        if self._style:
            self._read_style(data)

    def _read_style(self, text: str) -> None:
        images, imports = read_style(text)
        self.images += [(url, True) for url in images]
        self.sheets += imports


def references(root: Path, start: str, *, sheets: bool = True) -> References:
    """Return what the pages that links reach from `start` name, and with `sheets` the style sheets that they link."""
    found = References()
    todo = [start]
    while todo:
        name = todo.pop()
        if name in found.pages or name in found.sheets:
            continue
        text = (root / name).read_text("utf-8", "replace")
        if name.lower().endswith(".css"):
            found.sheets.add(name)
            images, imports = read_style(text)
            _note(found, root, name, name, ((url, True) for url in images))
            todo += _files(root, name, imports)
            continue
        found.pages.add(name)
        reader = _Reader()
        reader.feed(text)
        reader.close()
        base = urljoin(_url(name), reader.base)
        _note(found, root, name, base, reader.images)
        todo += [path for path in _files(root, base, reader.pages) if _PAGE.search(path)]
        if sheets:
            todo += [path for path in _files(root, base, reader.sheets) if path.lower().endswith(".css")]
    return found


def read_style(text: str) -> tuple[list[str], list[str]]:
    """Return the images that a style sheet or a `style` attribute names, and the sheets that it imports."""
    text = _FONT.sub("", _COMMENT.sub("", text))
    sets = [string for inside in _SET.findall(text) for string in _STRING.findall(inside)]
    names = [re.sub(r"\\(.)", r"\1", name.strip("\"'").strip()) for name in (*_URL.findall(text), *sets)]
    return [name for name in names if IMAGE.search(_path(name))], _IMPORT.findall(text)


def path_of(url: str) -> str:
    """Return the path of a URL as that of a file: decoded, without query and fragment."""
    return normpath(unquote(_path(url)).lstrip("/") or ".")


def _note(found: References, root: Path, name: str, base: str, images: Iterable[tuple[str, bool]]) -> None:
    for reference, sure in images:
        path = _target(base, reference)
        if path is None:
            continue
        if (root / path).is_file():
            found.images.setdefault(path, set()).add(name)
        elif sure:
            found.broken.setdefault(path, set()).add(name)


def _files(root: Path, base: str, texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        path = _target(base, text)
        if path is not None and (root / path).is_dir():
            path = normpath(f"{path}/index.html")
        if path is not None and (root / path).is_file():
            yield path


def _target(base: str, reference: str) -> str | None:
    """Return the path of what a reference names on this site; None for other sites, `data:` and the like."""
    if not reference or reference.startswith("#"):
        return None
    try:
        url = urljoin(base if "://" in base else _url(base), reference.replace("\\", "/"))
        return path_of(url) if url.startswith(f"{_SITE}/") else None
    except ValueError:
        return None


def _url(path: str) -> str:
    return f"{_SITE}/{quote(path)}"


def _path(url: str) -> str:
    try:
        return urlsplit(url).path
    except ValueError:
        return ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("--start", default="index.html")
    args = parser.parse_args()
    found = references(args.root, args.start)
    for path, names in sorted(found.images.items()):
        print(f"{path}: {len(names)} name it, {min(names)}")
    for path, names in sorted(found.broken.items()):
        print(f"broken: {path}: {len(names)} name it, {min(names)}")
    print(
        f"{len(found.pages)} pages, {len(found.sheets)} sheets, {len(found.images)} images, {len(found.broken)} broken"
    )


if __name__ == "__main__":
    main()
