"""What pages of Wikimedia and Flickr say of their image's rights, in marks of their own."""

from __future__ import annotations

from typing import Any

from crawler.pages.extract.links import Gathering, folded
from crawler.urls import host

_WIKIMEDIA = (".wikimedia.org", ".wikipedia.org")


def read(gathering: Gathering, root: Any, url: str) -> None:
    """Take the licence and credit that the page at `url` marks for its main image: hints, no permissions."""
    name = host(url)
    if f".{name}".endswith(_WIKIMEDIA):
        _set(gathering, _marked(gathering, root, "licensetpl_link") or _marked(gathering, root, "licensetpl_short"))
        credit = _marked(gathering, root, "licensetpl_attr") or _marked(gathering, root, "licensetpl_aut")
    elif name == "flickr.com" or name.endswith(".flickr.com"):
        link = root.find(".//a[@class='photo-license-url']")
        _set(gathering, link.get("href", "") if link is not None else "")
        credit = _marked(gathering, root, "owner-name")
    else:
        return
    for image in gathering.links.images if credit else ():
        image.words.credit = image.words.credit or credit


def _set(gathering: Gathering, license: str) -> None:
    gathering.links.license = gathering.links.license or folded(license)


def _marked(gathering: Gathering, root: Any, name: str) -> str:
    """Return the text of the first element of a class."""
    found = root.xpath("(//*[contains(concat(' ', normalize-space(@class), ' '), $name)])[1]", name=f" {name} ")
    return folded(gathering.text_of(found[0])) if found else ""
