from __future__ import annotations

import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.pages.extract.document import detect, parse

TEXT = "Zürich, naïve “café”"


def title(body: bytes, content_type: str = "") -> str:
    root = parse(body, content_type).root
    return str(root.findtext(".//title"))


def page(text: str = TEXT, head: str = "") -> str:
    return f"<!DOCTYPE html><html><head>{head}<title>{text}</title></head><body><p>x</p></body></html>"


@pytest.mark.parametrize(
    ("body", "content_type", "encoding", "found_in"),
    [
        (page().encode(), "", "utf-8", "bytes"),
        (page().encode("windows-1252"), "", "windows-1252", "bytes"),
        (page().encode(), "text/html; charset=UTF-8", "utf-8", "header"),
        (page().encode("cp1252"), "text/html; charset=iso-8859-1", "cp1252", "header"),
        (page().encode("cp1252"), 'text/html; charset="latin1"', "cp1252", "header"),
        (page().encode(), "text/html; charset=nonsense", "utf-8", "bytes"),
        (page(head='<meta charset="windows-1252">').encode("cp1252"), "", "cp1252", "meta"),
        (page(head='<meta charset="utf-16">').encode(), "", "utf-8", "meta"),
        (codecs.BOM_UTF8 + page().encode(), "text/html; charset=iso-8859-1", "utf-8", "bom"),
        (codecs.BOM_UTF16_LE + page().encode("utf-16-le"), "", "utf-16-le", "bom"),
        (codecs.BOM_UTF16_BE + page().encode("utf-16-be"), "text/html; charset=utf-8", "utf-16-be", "bom"),
    ],
)
def test_the_encoding_is_found_as_browsers_do(body: bytes, content_type: str, encoding: str, found_in: str) -> None:
    label, where = detect(body, content_type)
    assert (codecs.lookup(label), where) == (codecs.lookup(encoding), found_in)
    assert title(body, content_type) == TEXT


@pytest.mark.parametrize(
    ("label", "codec", "text"),
    [
        ("shift_jis", "cp932", "日本語①"),
        ("euc-jp", "euc_jp", "日本語"),
        ("gb2312", "gb18030", "中文鎔"),
        ("big5", "big5hkscs", "中文"),
        ("euc-kr", "cp949", "한국어똠"),
        ("windows-1251", "cp1251", "Привет"),
        ("koi8-r", "koi8-r", "Привет"),
        ("iso-8859-9", "cp1254", "Şişli"),
    ],
)
def test_labels_mean_what_browsers_take_them_for(label: str, codec: str, text: str) -> None:
    body = page(text).encode(codec)
    assert title(body, f"text/html;charset={label.upper()}") == text
    assert (
        title(page(text, f'<meta http-equiv="content-type" content="text/html; charset={label}">').encode(codec))
        == text
    )


@pytest.mark.parametrize(
    "label",
    "hex base64 rot13 zlib bz2 punycode idna unicode_escape raw_unicode_escape undefined uu quopri mbcs".split(),
)
def test_codecs_that_are_no_encodings_of_pages_do_no_harm(label: str) -> None:
    body = b'<meta charset="%s"><title>a\\x41</title>' % label.encode()
    assert parse(b"<title>a</title>", f"text/html; charset={label}").root is not None
    assert parse(body).root is not None


def test_bytes_that_contradict_the_charset_end_nothing() -> None:
    body = b'<html><body><a href="1">1</a>\xff\xfe\xe4<a href="2">2</a>\x00<a href="3">3</a></body></html>'
    document = parse(body, "text/html; charset=utf-8")
    assert [element.get("href") for element in document.root.iter("a")] == ["1", "2", "3"]


@pytest.mark.parametrize("body", [b"", b" \r\n\t ", codecs.BOM_UTF8, codecs.BOM_UTF16_LE])
def test_an_empty_page_has_no_root(body: bytes) -> None:
    assert parse(body).root is None


@pytest.mark.parametrize(
    "body",
    [b"x", b"<", b"<!---->", b"<!-- x", b"<?php", b"<!DOCTYPE html>", b"\x00", b"</html>", b"<![CDATA[x]]>", b"&#0;"],
)
def test_fragments_are_read(body: bytes) -> None:
    parse(body)


def test_deep_nesting_is_read() -> None:
    document = parse(b"<div>" * 20_000 + b'<img src="a.jpg">')
    assert document.root is not None


@given(st.binary(max_size=400), st.text(max_size=40))
def test_arbitrary_bytes_never_raise(body: bytes, content_type: str) -> None:
    parse(body, content_type)
    parse(b"<html><body>" + body, "text/html; charset=" + content_type)


@pytest.mark.parametrize(
    "flood",
    [
        "<div " + " ".join(f"a{n}=1" for n in range(60_000)) + ">",
        "<div " + " ".join(f'a{n}="<b>"' for n in range(60_000)) + ">",
        "<div " + " ".join(f"a{n}" for n in range(60_000)) + ">",
        "<div x='\"' y=\"> " + " ".join(f"a{n}" for n in range(60_000)) + ' ">',
        "<div = " + " ".join(f"a{n}='>'" for n in range(60_000)) + ">",
        '<a b="' * 60_000 + '">',
        "<a b=c " * 60_000 + ">",
        "<div>" * 60_000,
        "<div>" * 3_000 + "a<!---->" * 60_000,
    ],
    ids=[
        "attributes",
        "attributes that look like tags",
        "names",
        "after a quote within quotes",
        "after an equals sign",
        "quotes",
        "tags",
        "nesting",
        "comments",
    ],
)
def test_floods_are_read_in_time(flood: str) -> None:
    root = parse(f'<img src="a.jpg">{flood}<img src="b.jpg">'.encode(), "text/html; charset=utf-8").root
    assert root.find(".//img").get("src") == "a.jpg"


def test_many_attributes_of_many_tags_are_no_flood() -> None:
    tag = '<p class="a" title="1 > 0" data-x=\'{"a": "b"}\'>'
    root = parse((tag * 5_000 + '<img src="a.jpg">').encode(), "text/html; charset=utf-8").root
    assert len(root.findall(".//p")) == 5_000 and root.find(".//img") is not None
