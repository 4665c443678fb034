"""What a page names: decode, parse once, and walk once."""

from __future__ import annotations

from crawler.pages.extract.document import Document, parse
from crawler.pages.extract.links import ImageLink, Links
from crawler.pages.extract.reading import read
from crawler.pages.extract.walk import links_of

__all__ = ["Document", "ImageLink", "Links", "links_of", "parse", "read"]
