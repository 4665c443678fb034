from __future__ import annotations

import unicodedata
from pathlib import PurePosixPath

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from crawler.stores.names import careful_name, file_name, grouped, matching, short_name
from crawler.urls import normalise

SHA = "0123456789abcdef" * 4
RESERVED = {"con", "prn", "aux", "nul", *(f"{kind}{n}" for kind in ("com", "lpt") for n in range(10))}

piece = st.one_of(
    st.text(max_size=40),
    st.sampled_from(["..", ".", "%2e%2e", "%2f", "%00", "%5c", "con", "COM1.jpg", "a.", " a ", "~", "%FF", "a.tar.gz"]),
    st.text(alphabet="äé漢😀", min_size=60, max_size=300),
)
urls = st.builds(
    lambda path, query, port: normalise(f"http://example.com{port}/" + "/".join(path) + query),
    st.lists(piece, max_size=30),
    st.one_of(st.just(""), st.text(max_size=20).map("?".__add__)),
    st.sampled_from(["", ":8080"]),
).filter(bool)


def name(url: str) -> str:
    normal = normalise(url)
    assert normal is not None
    return file_name(normal, SHA, "jpeg")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://example.com/a/b/c.jpg", "example.com/a/b/c-0123456789ab.jpeg"),
        ("https://example.com:8443/c.jpg", "example.com_8443/c-0123456789ab.jpeg"),
        ("https://example.com/%C3%A4/%E6%BC%A2.jpg", "example.com/ä/漢-0123456789ab.jpeg"),
        ("https://example.com/a.b.c.jpg", "example.com/a.b.c-0123456789ab.jpeg"),
    ],
)
def test_a_plain_url_is_readable(url: str, expected: str) -> None:
    assert name(url) == expected


def test_the_name_is_a_function_of_url_and_content() -> None:
    url = "https://example.com/a.jpg?size=2"
    assert name(url) == name(url)
    assert file_name(url, SHA, "png") != file_name(url, SHA, "jpeg")
    assert file_name(url, "f" * 64, "jpeg") != file_name(url, SHA, "jpeg")


@given(urls)
@example("http://example.com/" + "a/" * 400 + "b.jpg")
@example("http://example.com/" + "%C3%A4" * 1000)
@example("http://example.com/%2e%2e%2f%2e%2e%2fetc/passwd")
@example("http://" + "a." * 120 + "example/")
@example("http://[2001:db8::1]:81/a.jpg")
def test_any_url_gives_a_safe_relative_path(url: str) -> None:
    found = name(url)
    parts = found.split("/")
    assert not found.startswith("/") and len(found.encode()) <= 4000
    for part in parts:
        assert part not in ("", ".", "..") and len(part.encode()) <= 255
        assert not set(part) & set('<>:"\\|?*') and all(unicodedata.category(c) != "Cc" for c in part)
        assert part == part.strip() and not part.endswith(".")
        assert part.partition(".")[0].lower() not in RESERVED
    assert PurePosixPath(found).suffix == ".jpeg"
    assert not parts[0].startswith(".")


@given(urls, urls)
def test_urls_that_differ_never_share_a_name(one: str, other: str) -> None:
    assume(one != other)
    assert name(one) != name(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("/a.jpg?x=1", "/a.jpg?x=2"),
        ("/a.jpg?x=1", "/a.jpg"),
        ("/a.jpg?", "/a.jpg"),
        ("/a/b.jpg", "/a_b.jpg"),
        ("/a%2Fb.jpg", "/a/b.jpg"),
        ("/a%2Fb.jpg", "/a_b.jpg"),
        ("/a%20b.jpg", "/a_b.jpg"),
        ("/a//b.jpg", "/a/b.jpg"),
        ("/a/", "/a/index"),
        ("/a/", "/a/_"),
        ("/", "/index"),
        ("/" + "a" * 300, "/" + "a" * 301),
        ("/a/" * 30 + "b", "/a/" * 31 + "b"),
        ("/con/a.jpg", "/_con/a.jpg"),
        ("/a%FF.jpg", "/a%FE.jpg"),
        ("/a.", "/a"),
        ("/a%CC%88.jpg", "/%C3%A4.jpg"),
        ("/a.jpg", "/a.png"),
        ("/a.jpg", "/a"),
        ("/%61.jpg", "/a.jpg"),
    ],
)
def test_pairs_that_look_alike_have_names_of_their_own(one: str, other: str) -> None:
    assert name("https://example.com" + one) != name("https://example.com" + other)


@pytest.mark.parametrize("word", ["con", "PRN", "aux.jpg", "NUL.tar.gz", "com1", "Lpt9.png", "COM0"])
def test_names_that_windows_keeps_for_devices(word: str) -> None:
    for part in name(f"https://example.com/{word}/{word}").split("/"):
        assert part.partition(".")[0].lower() not in RESERVED


@pytest.mark.parametrize(
    "mark", ["%E2%80%AE", "%E2%80%8B", "%EF%BB%BF", "%E2%81%A6", "%00", "%0A", "%1B", "%7F", "%C2%85"]
)
def test_what_cannot_be_seen_is_not_in_a_name(mark: str) -> None:
    assert all(c.isprintable() for c in name(f"https://example.com/a{mark}b{mark}.jpg"))


PARTS = st.lists(
    st.sampled_from(["a", "b.c", "con", "COM1.x", ".a", "a.", "a b", "ü", "%41", "x" * 119, "x" * 121, "", "-", "a,b"]),
    max_size=18,
)
LAST = st.sampled_from(
    [
        "a.jpg",
        "a.b.jpg",
        "a.jpeg",
        "a",
        "a.JPG",
        ".jpg",
        "nul.jpg",
        "con.a.jpg",
        "",
        "a.",
        "a.j-g",
        "a.j%70g",
        "a.jpg;b",
        "a.jpg?b=1.jpg",
        "a.jpg?",
        "a?b.jpg",
        "a.png?b/c.jpg",
        "a.webp",
        "a.jpg?b?c",
        "a.php?id=7&w=80",
    ]
)


@given(PARTS, LAST, st.sampled_from(["a.example", "a.example:8080", "[::1]:80", "xn--bcher-kva.example"]))
def test_the_short_way_of_plain_names_is_the_careful_one(parts: list[str], last: str, host: str) -> None:
    url = "/".join([f"https://{host}", *parts, last])
    assert file_name(url, SHA, "jpeg") == careful_name(url, SHA, "jpeg")


@given(urls, urls, st.sampled_from([SHA, "f" * 64]), st.sampled_from([SHA, "f" * 64]))
@example("http://example.com/A.jpg", "http://example.com/a.jpg", SHA, "f" * 64)
@example("http://example.com/A/B.jpg", "http://example.com/a/b.jpg", SHA, "f" * 64)
def test_where_case_does_not_count_only_the_same_bytes_share_a_name(
    one: str, other: str, sha: str, other_sha: str
) -> None:
    names = file_name(one, sha, "jpeg").casefold(), file_name(other, other_sha, "jpeg").casefold()
    assert names[0] != names[1] or sha == other_sha


def test_what_turns_text_around_or_stands_for_forbidden_characters_is_replaced() -> None:
    name = file_name("https://a.example/%D8%9Ca%EF%80%A6b.jpg", "ab" * 32, "jpeg")
    assert name.startswith("a.example/_a_b~")


formats = st.sampled_from(["jpeg", "png", "webp", "tiff", "gif"])


@given(urls, formats, st.sampled_from([10, 900]))
@example("http://a.example/i/a.", "png", 900)
@example("http://a.example/i/a.tif", "tiff", 900)
@example("http://a.example/a-0123456789ab.png", "png", 900)
def test_all_files_of_a_url_are_found_by_it(url: str, format: str, most: int) -> None:
    folder, _, last = short_name(url, SHA, format, most).rpartition("/")
    assert matching([last], grouped([url])[folder]) == [last]


@given(urls, urls, formats)
@example("http://a.example/i/a.png", "http://a.example/i/a.jpg", "jpeg")
@example("http://a.example/i/a.png", "http://a.example/i/a.webp", "png")
def test_no_file_of_another_url_is(url: str, other: str, format: str) -> None:
    assume(url.partition("://")[2] != other.partition("://")[2])
    folder, _, last = file_name(other, SHA, format).rpartition("/")
    assert matching([last], grouped([url]).get(folder, set())) == []
