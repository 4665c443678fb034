from __future__ import annotations

from pathlib import Path

import pytest

from servers.gallery import Gallery
from servers.manners import Asked, Stopped, apart, at_once, gaps, read_record


def asked(start: float, end: float, host: str = "h", client: str = "c") -> Asked:
    return Asked(start, end, host, client, 200, "/")


def test_requests_at_a_time_are_those_of_one_host() -> None:
    requests = [asked(0, 3), asked(1, 2), asked(1.5, 4), asked(2, 5), asked(0, 9, host="other")]
    assert sorted(at_once(requests)) == [1, 1, 2, 3, 3]


def test_an_end_comes_before_a_start_of_the_same_moment() -> None:
    assert at_once([asked(0, 1), asked(1, 2)]) == [1, 1]


def test_gaps_are_from_the_end_of_all_before() -> None:
    requests = [asked(0, 5), asked(1, 2), asked(6, 7), asked(6.5, 6.6, host="other")]
    assert gaps(requests) == [-4, 1]


@pytest.mark.parametrize(
    ("one", "counts"),
    [
        (asked(0, 4), True),
        (asked(4, 6), False),
        (asked(9, 12), False),
        (asked(10.5, 12), False),
        (asked(11.5, 12), True),
        (asked(6, 7, client="other"), True),
    ],
)
def test_what_stopped_processes_asked_is_apart(one: Asked, counts: bool) -> None:
    running, stopped = apart([one], [Stopped("c", 5, 10)])
    assert (running, stopped) == (([one], []) if counts else ([], [one]))


def test_a_record_may_still_be_written(tmp_path: Path) -> None:
    (tmp_path / "record").write_text("2.0\t2.5\th\tc\t200\t/b\n1.0\t1.5\th\tc\t0\t/a\n3.0\t3")
    assert [one.path for one in read_record(tmp_path / "record")] == ["/a", "/b"]


def test_a_gallery_names_each_image_once() -> None:
    gallery = Gallery(("a", "b"), pages=3, images=20, port=8080)
    pages = "".join(gallery.answer(f"/p/{page}.html")[1].decode() for page in range(3))
    assert all(pages.count(f'"{url}"') == 1 for url in gallery.digests())
    assert len(set(gallery.digests().values())) == 20
    assert {gallery.answer(path)[0] for path in ("/p/3.html", "/i/20.jpg", "/robots.txt")} == {""}
