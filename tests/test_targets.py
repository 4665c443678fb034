from __future__ import annotations

from pathlib import Path

import pytest

from crawler.targets import digits_of, names_image

STORED = "sunset-3f9a1c0b7d2e.jpeg"


@pytest.mark.parametrize(
    "text",
    [
        "http://a.example/x", "https://a.example", "HTTPS://A.EXAMPLE/", "3f9a1c0b", "3F9A1C0B7D2E", "a" * 64, STORED,
        f"example.com/photos/{STORED}", f"/mnt/images/night/{STORED}",
    ],
)  # fmt: skip
def test_of_an_image(text: str) -> None:
    assert names_image(text)


@pytest.mark.parametrize(
    "text",
    [
        "night", "example.com", "3f9a1c0", "a" * 65, "3f9a1c0g", "httpd", "https:", "", "sunset-3f9a1c0b7d2.jpeg",
        "sunset-3f9a1c0b7d2e", f"{STORED}.txt", f"{STORED}\n", "a\0b", "x" * 5000, ".", "missing.jpeg",
    ],
)  # fmt: skip
def test_of_none(text: str) -> None:
    assert not names_image(text)


def test_a_file_that_is_there_is_an_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "photo").touch()
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    assert names_image("photo") and names_image(str(tmp_path / "photo"))
    assert not names_image("folder") and not names_image(str(tmp_path))


def test_the_digits_are_the_last() -> None:
    assert digits_of(STORED) == "3f9a1c0b7d2e" and digits_of(f"{'0' * 12}-x-{'1' * 12}.png") == "1" * 12
    assert digits_of(f"a-{'0' * 12}.png-{'1' * 12}.webp") == "1" * 12
