"""A distributed image crawler: fast, polite, and accountable for every URL."""

__version__ = "0.1.0"
