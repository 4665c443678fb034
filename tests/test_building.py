from __future__ import annotations

import getpass
import gzip
import io
import os
import re
import stat
import sys
import threading
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler import __version__
from crawler.brokers.client import ServerAddress
from crawler.building import MAX_NAME, build_spec, job_name, local_key, user_agent, worker_key
from crawler.errors import CrawlerError, UsageError
from crawler.flags import settings_of
from crawler.model import SourceDetail, decode, encode
from crawler.settings import CollectSettings, CrawlSettings
from crawler.sites import sites_of
from crawler.sources.formats import FORMATS
from crawler.spec import Access, Spec

KEY = "0123456789abcdef" * 4
FAR = ServerAddress("machine-a", 8001)


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith("CRAWLER_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)


def crawl(*sites: str, **more: Any) -> CrawlSettings:
    return CrawlSettings(sites=sites, **more)


def spec(**more: Any) -> Spec:
    """Return the job of one site, with settings."""
    return build_spec(crawl("a.example", **more))


def listed(urls: str | Path, **more: Any) -> Spec:
    """Return the job of a list alone."""
    return build_spec(crawl(urls=str(urls), **more))


def stdin_of(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def key_at(path: Path, text: str = KEY, mode: int = 0o600) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n")
    path.chmod(mode)
    return path


class TestUserAgent:
    def test_names_the_program_and_the_contact(self) -> None:
        assert user_agent("", "") == f"crawler/{__version__} (image crawler)"
        assert user_agent("me@a.example", "") == f"crawler/{__version__} (image crawler; +me@a.example)"

    def test_that_is_given_is_the_whole(self) -> None:
        assert user_agent("me@a.example", "mine/1") == "mine/1"


class TestSites:
    @pytest.mark.parametrize(
        ("text", "url"),
        [
            ("example.com", "https://example.com/"),
            ("  example.com\n", "https://example.com/"),
            ("http://Example.COM:80/a b#part", "http://example.com/a%20b"),
            ("example.com/start/?q=1", "https://example.com/start/?q=1"),
            ("localhost:8000/x", "http://localhost:8000/x"),
            ("127.0.0.1", "http://127.0.0.1/"),
            ("[::1]:8080", "http://[::1]:8080/"),
            ("bücher.example", "https://xn--bcher-kva.example/"),
            ("example.com/@someone", "https://example.com/@someone"),
        ],
    )
    def test_are_what_a_person_means(self, text: str, url: str) -> None:
        assert sites_of(crawl(text)) == [url]

    @pytest.mark.parametrize("text", ["", " ", "?", "ftp://example.com/", "http://", "https://exa mple.com", "a:b:c"])
    def test_that_are_none_are_named(self, text: str) -> None:
        with pytest.raises(UsageError, match=re.escape(repr(text)) + r" is no site; write example\.com"):
            sites_of(crawl("a.example", text))

    def test_of_flags_and_file_are_added_and_each_is_one(self, tmp_path: Path) -> None:
        (tmp_path / "sites").write_text("https://b.example\nhttp://c.example/\nA.example\n")
        settings = crawl("a.example", "b.example/", sites_file=tmp_path / "sites")
        assert sites_of(settings) == ["https://a.example/", "https://b.example/", "http://c.example/"]

    def test_of_the_collector(self) -> None:
        assert sites_of(CollectSettings(site=("a.example",))) == ["https://a.example/"]

    def test_none_is_no_error_here(self) -> None:
        assert sites_of(crawl()) == []

    def test_of_a_file_may_have_remarks_and_gaps(self, tmp_path: Path) -> None:
        (tmp_path / "sites").write_bytes(b"\xef\xbb\xbfa.example\r\n\r\n  # of mine\n#b.example\n   c.example  \n\t\n")
        assert sites_of(crawl(sites_file=tmp_path / "sites")) == ["https://a.example/", "https://c.example/"]

    def test_of_a_file_that_are_none_are_named(self, tmp_path: Path) -> None:
        (tmp_path / "sites").write_text("a.example\nnot a site\n")
        with pytest.raises(UsageError, match="'not a site' is no site"):
            sites_of(crawl(sites_file=tmp_path / "sites"))

    def test_in_a_file_that_cannot_be_read(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=r"the sites file .*missing cannot be read: No such file"):
            sites_of(crawl(sites_file=tmp_path / "missing"))
        with pytest.raises(UsageError, match="cannot be read: Is a directory"):
            sites_of(crawl(sites_file=tmp_path))
        (tmp_path / "latin").write_bytes(b"b\xfccher.example\n")
        with pytest.raises(UsageError, match=r"the sites file .*latin is no UTF-8 text"):
            sites_of(crawl(sites_file=tmp_path / "latin"))

    @pytest.mark.parametrize(
        ("text", "url", "said"),
        [
            ("https://me:secret@a.example/x", "https://a.example/x", "me:secret"),
            ("https://secret@a.example", "https://a.example/", "secret:"),
            ("https://:secret@a.example", "https://a.example/", ":secret"),
            ("me:se%40cret@a.example", "https://a.example/", "me:se@cret"),
            ("secret@a.example/x@y", "https://a.example/x@y", "secret:"),
        ],
    )
    def test_with_a_password_sign_in_there_only(self, text: str, url: str, said: str) -> None:
        spec = build_spec(crawl(text, "https://b.example/"))
        assert [url for url, _ in spec.sources] == [url, "https://b.example/"]
        assert spec.access.headers == (
            ("https://a.example", "Authorization", f"Basic {b64encode(said.encode()).decode()}"),
        )
        assert "secret" not in repr(spec)

    @pytest.mark.parametrize("text", ["me:secret@exa mple", "me:secret@"])
    def test_that_are_none_do_not_tell_a_password(self, text: str) -> None:
        with pytest.raises(UsageError) as caught:
            sites_of(crawl(text))
        assert "secret" not in str(caught.value)

    @pytest.mark.parametrize("rest", ["?mail=me@b.example", "#me@b.example"])
    def test_may_have_the_sign_of_a_password_behind_the_host(self, rest: str) -> None:
        assert sites_of(crawl("https://a.example" + rest))[0].startswith("https://a.example/")

    @given(st.text(max_size=40))
    def test_are_absolute_urls_or_a_usage_error(self, text: str) -> None:
        try:
            urls = sites_of(crawl(text))
        except UsageError:
            return
        assert len(urls) == 1 and urls[0].startswith(("http://", "https://"))
        assert sites_of(crawl(urls[0])) == urls


class TestJobName:
    @pytest.mark.parametrize(
        ("sites", "name"),
        [
            (["https://a.example/x/y"], "a.example"),
            (["http://127.0.0.1:8080/"], "127.0.0.1_8080"),
            (["http://[::1]:8080/"], "[__1]_8080"),
            (["https://b.example/", "https://a.example/"], "b.example-and-1-more"),
            ([f"https://{n}.example/" for n in range(1200)], "0.example-and-1199-more"),
        ],
    )
    def test_is_that_of_the_first_site(self, sites: list[str], name: str) -> None:
        assert job_name(crawl(*sites), sites) == name

    @pytest.mark.parametrize(
        ("urls", "name"),
        [
            ("-", "list"),
            ("images.csv", "images"),
            ("/data/images.2024.jsonl.gz", "images"),
            ("images", "images"),
            ("../.hidden.txt", "list"),
            ("..", "list"),
            ("/", "list"),
            ("/dev/fd/63", "63"),
        ],
    )
    def test_is_that_of_the_list(self, urls: str, name: str) -> None:
        assert job_name(crawl("https://a.example/", urls=urls), ["https://a.example/"]) == name

    def test_that_is_given_goes_before(self) -> None:
        assert job_name(crawl(job="night of mine", urls="x.csv"), []) == "night of mine"

    @pytest.mark.parametrize(
        "name", ["key", ".hidden", ".", "..", "a/b", "/", "../x", "a\\b", "a:b", "a\0b", "a\nb", "a\x1b[2J", "*"]
    )
    def test_that_is_no_folder_is_refused(self, name: str) -> None:
        with pytest.raises(UsageError, match=r"cannot be the name of a job: it is a folder's name.* --job"):
            job_name(crawl(job=name), [])

    def test_of_a_list_or_site_that_is_no_folder_is_refused(self) -> None:
        with pytest.raises(UsageError, match="'key' cannot be the name of a job"):
            job_name(crawl(urls="key.txt"), [])
        with pytest.raises(UsageError, match="cannot be the name of a job"):
            job_name(crawl(), ["http://key/"])

    @pytest.mark.parametrize("character", ["x", "ä", "漢"])
    def test_is_bounded_in_bytes(self, character: str) -> None:
        longest = character * (MAX_NAME // len(character.encode()))
        assert job_name(crawl(job=longest), []) == longest
        with pytest.raises(UsageError, match=r"is too long for a job; give another with --job"):
            job_name(crawl(job=longest + character), [])

    def test_that_is_no_text_is_refused(self) -> None:
        for settings in (crawl(job="\udcff"), crawl(urls="\udcff.txt")):
            with pytest.raises(UsageError, match="cannot be the name of a job"):
                job_name(settings, [])

    @given(st.text(max_size=60) | st.sampled_from(["~", " ", "con", "-rf", "a" * 121]))
    def test_is_one_folder_or_a_usage_error(self, given_name: str) -> None:
        for settings in (crawl(job=given_name), crawl(urls=given_name or "-")):
            try:
                name = job_name(settings, ["https://a.example/"])
            except UsageError:
                continue
            assert name and len(name.encode()) <= MAX_NAME
            assert name not in (".", "..", "key") and "/" not in name and name.isprintable()
            assert Path("/state", name).parent == Path("/state")

    @given(st.text(alphabet=st.characters(codec="utf-8"), min_size=1, max_size=40))
    def test_of_any_site_is_one_folder_or_a_usage_error(self, text: str) -> None:
        try:
            sites = sites_of(crawl(text))
            name = job_name(crawl(text), sites)
        except UsageError:
            return
        assert Path("/state", name).parent == Path("/state") and ":" not in name


class TestSpec:
    def test_says_what_the_settings_say(self, tmp_path: Path) -> None:
        made = build_spec(
            crawl(
                "a.example", job="j", output="out", scope="domain", depth=2, max_pages=3, include=("/a/",),
                exclude=("/b/",), page_deadline=4.0, max_page_bytes=5.0, requests_per_host=6, delay=7.0,
                user_agent="mine/1", allow_net=("10.0.0.0/8",), queue_limit=8, lease=9.0, connect_timeout=10.0,
                timeout=11.0, max_image_bytes=12.0, max_redirects=13, formats=("jpeg", "png"), min_width=14,
                min_height=15, min_bytes=16.0, max_images=17, css=True, no_sitemaps=True, max_alike=18,
                max_pixels=19, svg="safe", verify="decode",
                respect=("tdm",), ignore=("noai",), header=("X-Key: 1",), proxy="proxy.example",
            )
        )  # fmt: skip
        assert made == Spec(
            job="j", sources=(("https://a.example/", SourceDetail(name="a.example")),), output=str(tmp_path / "out"),
            scope="domain", depth=2, max_pages=3, include=("/a/",), exclude=("/b/",), page_deadline=4.0,
            page_max_bytes=5, requests_per_host=6, delay=7.0, obey_robots=True, user_agent="mine/1",
            allow_net=("10.0.0.0/8",),
            queue_limit=8, lease=9.0, connect_timeout=10.0, timeout=11.0, max_image_bytes=12, max_redirects=13,
            formats=("jpeg", "png"), min_width=14, min_height=15, min_bytes=16, max_images=17, css=True,
            max_pixels=19, svg="safe", verify="decode",
            sitemaps=False, max_alike=18, obeyed=("meta-robots", "x-robots-tag", "tdm"), proxy="http://proxy.example:80",
            access=Access(headers=(("https://a.example", "X-Key", "1"),)),
        )  # fmt: skip

    def test_of_defaults_is_the_default_of_the_model(self, tmp_path: Path) -> None:
        made = spec()
        assert made == Spec(
            job="a.example",
            sources=(("https://a.example/", SourceDetail(name="a.example")),),
            output=str(tmp_path / "downloads"),
            user_agent=user_agent("", ""),
            obeyed=("meta-robots", "x-robots-tag", "noai"),
        )

    def test_robots_are_obeyed_unless_told(self) -> None:
        assert spec().obey_robots and not spec(ignore_robots=True).obey_robots
        assert not spec(ignore=("robots",)).obey_robots

    def test_the_home_directory_is_known(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        assert spec(output="~/images").output == str(tmp_path / "images")

    def test_of_nothing_is_refused(self) -> None:
        with pytest.raises(UsageError, match=r"nothing to crawl: name a site, such as example\.com, or .* --urls FILE"):
            build_spec(crawl())
        with pytest.raises(UsageError, match="nothing to crawl"):
            build_spec(CollectSettings(job="j"))

    @pytest.mark.parametrize(
        "more",
        [
            {"depth": 10**30}, {"max_pages": 2**64}, {"max_image_bytes": 1e30}, {"min_bytes": 1e400},
            {"output": "\udcff"}, {"include": ("\udcff",)}, {"exclude": ("\udcff",)},
        ],
    )  # fmt: skip
    def test_can_be_sent_or_is_refused(self, more: dict[str, Any]) -> None:
        try:
            made = spec(**more)
        except UsageError as error:
            assert str(error).startswith("--")
        else:
            assert decode(encode(made), Spec) == made

    def test_may_have_sites_and_a_list(self, tmp_path: Path) -> None:
        (tmp_path / "x.txt").write_text("https://b.example/1.jpg\n")
        sources = spec(urls="x.txt").sources
        assert [url for url, _ in sources] == ["https://a.example/", (tmp_path / "x.txt").as_uri()]
        assert [detail.sort for _, detail in sources] == ["site", "list"]


class TestChecks:
    @pytest.mark.parametrize("network", ["nonsense", "10.0.0.0/33", "10.0.0/8", "example.com", "", "::1/129"])
    def test_networks(self, network: str) -> None:
        with pytest.raises(UsageError, match=r"--allow-net: .*write a network such as 192\.168\.1\.0/24"):
            spec(allow_net=("10.0.0.0/8", network))

    def test_one_way_to_name_proxies(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(UsageError, match=r"--proxy names .*, --proxy-env .*: give one of them"):
            spec(proxy="proxy.example:3128", proxy_env=True)
        monkeypatch.setenv("https_proxy", "socks5://proxy.example:1080")
        with pytest.raises(UsageError, match=r"--proxy-env: https_proxy: a proxy is written as http://HOST:PORT"):
            spec(proxy_env=True)
        assert not spec().proxy_env

    @pytest.mark.parametrize("network", ["127.0.0.1", "192.168.1.7/24", "fd00::/8"])
    def test_networks_that_are_some(self, network: str) -> None:
        assert spec(allow_net=(network,)).allow_net == (network,)

    def test_the_output_is_a_directory_or_can_become_one(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        (tmp_path / "there").mkdir()
        for path in ("file", "file/below/it"):
            with pytest.raises(UsageError, match=rf"--output {path}: .*/file is no directory"):
                spec(output=path)
        assert spec(output="there").output == str(tmp_path / "there")
        assert spec(output="a/b/c").output == str(tmp_path / "a/b/c")
        assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "there"], "nothing is made yet"

    @pytest.mark.parametrize("key", ["connect_timeout", "timeout", "page_deadline"])
    def test_what_must_be_more_than_nothing(self, key: str) -> None:
        for value in (0.0, -1.0):
            with pytest.raises(UsageError, match=f"--{key.replace('_', '-')} must be more than 0"):
                spec(**{key: value})

    @pytest.mark.parametrize("key", ["contact", "user_agent"])
    @pytest.mark.parametrize("text", ["me\r\nCookie: x", "Bär", "\x7f", "x\n", "\0", "\t"])
    def test_what_goes_into_a_header_is_printable_ascii(self, key: str, text: str) -> None:
        with pytest.raises(UsageError, match=f"--{key.replace('_', '-')} goes into a header"):
            spec(**{key: text})

    @pytest.mark.parametrize("name", ["jpg", "JPEG", "jpeg,png", "", "svg "])
    def test_formats(self, name: str) -> None:
        with pytest.raises(UsageError, match=r"--formats: .* is no format; known are .*jpeg") as caught:
            spec(formats=("png", name))
        assert repr(name) in str(caught.value)

    @pytest.mark.parametrize("key", ["include", "exclude"])
    @pytest.mark.parametrize("pattern", ["(", "[a", "*", "a{2,1}", "(?P<x", "\\"])
    def test_patterns(self, key: str, pattern: str) -> None:
        with pytest.raises(UsageError, match="--include and --exclude take regular expressions: "):
            spec(**{key: ("/fine/", pattern)})

    @pytest.mark.parametrize(
        ("key", "least"),
        [
            ("requests_per_host", 1), ("connections", 1), ("page_processes", 1), ("processes", 1), ("queue_limit", 1),
            ("lease", 1), ("depth", 0), ("max_pages", 0), ("max_images", 0), ("max_redirects", 0), ("fail_above", 0),
            ("min_width", 0), ("min_height", 0), ("max_pixels", 0),
        ],
    )  # fmt: skip
    def test_the_least_of_each_number(self, key: str, least: int) -> None:
        spec(**{key: least})
        with pytest.raises(UsageError, match=f"--{key.replace('_', '-')} must be at least {least}"):
            spec(**{key: least - 1})

    @pytest.mark.parametrize("path", ["~nobody-has-this-name/x", "x" * 300])
    def test_an_output_that_can_be_no_path_is_refused(self, path: str) -> None:
        with pytest.raises(UsageError, match="--output"):
            spec(output=path)

    @pytest.mark.parametrize("pattern", ["a{99999999999}", "(" * 5000])
    def test_patterns_beyond_all_measure(self, pattern: str) -> None:
        with pytest.raises(UsageError, match="--include and --exclude take regular expressions: "):
            spec(include=(pattern,))

    def test_a_percentage_is_a_number(self) -> None:
        with pytest.raises(UsageError, match="--fail-above"):
            spec(fail_above=float("nan"))

    @pytest.mark.parametrize("key", ["max_page_bytes", "max_image_bytes"])
    def test_less_than_one_byte_is_nothing(self, key: str) -> None:
        with pytest.raises(UsageError, match=f"--{key.replace('_', '-')} must be at least 1"):
            spec(**{key: 0.5})

    def test_a_collector_needs_no_download_process_of_its_own(self) -> None:
        build_spec(CollectSettings(site=("a.example",), processes=0))
        with pytest.raises(UsageError, match="--processes must be at least 0"):
            build_spec(CollectSettings(site=("a.example",), processes=-1))


class TestLists:
    def test_are_named_by_their_place(self, tmp_path: Path) -> None:
        path = tmp_path / "my list.csv"
        path.write_text("link,text\nhttps://a.example/1.jpg,one\n")
        made = listed("my list.csv", url_column="link", caption_column="text")
        detail = SourceDetail(sort="list", path=str(path), url_column="link", caption_column="text", name="my list.csv")
        assert made.sources == ((path.as_uri(), detail),)
        assert made.job == "my list"

    def test_may_be_in_the_home_directory(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        (tmp_path / "home").mkdir()
        (tmp_path / "home" / "x.txt").write_text("https://a.example/1.jpg\n")
        assert listed("~/x.txt").sources[0][1].path == str(tmp_path / "home" / "x.txt")

    def test_may_be_empty(self, tmp_path: Path) -> None:
        (tmp_path / "x.txt").touch()
        assert listed("x.txt").job == "x"

    @pytest.mark.parametrize("urls", ["missing.txt", ".", "missing/x.txt", "/dev/null", "https://a.example/x.txt"])
    def test_that_are_no_file_are_named(self, urls: str) -> None:
        with pytest.raises(UsageError, match=f"the list {re.escape(urls)} is not there"):
            listed(urls)

    @pytest.mark.parametrize("urls", ["~nobody-has-this-name/x.txt", "x" * 300])
    def test_that_can_be_no_path_are_named(self, urls: str) -> None:
        with pytest.raises(UsageError, match=f"--urls: '{urls[:100]}"):
            listed(urls, job="j")

    def test_of_an_unknown_format_say_which_are_known(self, tmp_path: Path) -> None:
        (tmp_path / "x.xlsx").touch()
        with pytest.raises(UsageError, match=r"is no list that can be read: use \.txt, \.csv, .*\.parquet"):
            listed("x.xlsx")

    @pytest.mark.parametrize("flag", ["url_column", "caption_column"])
    @pytest.mark.parametrize(("name", "text"), [("x.csv", "url,b\n1,2\n"), ("x.tsv", "url\tb\n1\t2\n")])
    def test_without_the_column_say_which_they_have(self, tmp_path: Path, name: str, text: str, flag: str) -> None:
        (tmp_path / name).write_text(text)
        with pytest.raises(UsageError, match="no column 'c'; it has url, b"):
            listed(name, **{flag: "c"})

    def test_of_records_without_a_url_say_what_they_have(self, tmp_path: Path) -> None:
        (tmp_path / "x.jsonl").write_text('{"name": "n", "size": 3}\n')
        with pytest.raises(UsageError, match="no column 'url'; it has name, size: name one with --url-column"):
            listed("x.jsonl")

    @pytest.mark.parametrize(
        ("name", "data"),
        [
            ("x.txt.gz", b"https://a.example/1.jpg\n"),
            ("x.txt.gz", gzip.compress(b"https://a.example/1.jpg\n" * 9)[:15]),
            ("x.csv.gz", gzip.compress(b"")[:10] + b"\xff" * 20),
        ],
        ids=["no gzip", "cut off", "broken"],
    )
    def test_that_are_broken_are_named(self, tmp_path: Path, name: str, data: bytes) -> None:
        (tmp_path / name).write_bytes(data)
        with pytest.raises(UsageError, match=rf"the list .*{name} cannot be read: "):
            listed(name)

    def test_of_parquet_that_are_broken_are_named(self, tmp_path: Path) -> None:
        pytest.importorskip("pyarrow")
        for data in (b"", b"PAR1", b"PAR1" + bytes(64) + b"PAR1"):
            (tmp_path / "x.parquet").write_bytes(data)
            with pytest.raises(UsageError, match=r"the list .*x\.parquet cannot be read: "):
                listed("x.parquet")

    def test_are_read_as_they_are_said_to_be(self, tmp_path: Path) -> None:
        (tmp_path / "x.dat").write_text("url,text,md5,n\nhttps://a.example/1.jpg,one,,7\n")
        told = {"input_format": "csv", "verify_hash": '["md5", "md5"]', "columns": ("n, text", "md5"), "per": "row"}
        ((_, detail),) = listed("x.dat", **told).sources
        assert (detail.format, detail.hash_column, detail.hash_kind, detail.per_row) == ("csv", "md5", "md5", True)
        assert detail.columns == ("n", "text", "md5")
        assert listed("x.dat", input_format="csv", columns=("",)).sources[0][1].columns == ()
        for wrong in ({"columns": ("m",)}, {"verify_hash": "m"}):
            with pytest.raises(UsageError, match="no column 'm'; it has url, text, md5, n"):
                listed("x.dat", input_format="csv", **wrong)

    def test_may_be_said_to_be_whatever_can_be_read(self) -> None:
        assert set(settings_of(CrawlSettings)["input_format"].choices) == {"auto", *FORMATS}

    def test_of_a_folder_are_a_source_each(self, tmp_path: Path) -> None:
        (tmp_path / "all").mkdir()
        for name in ("b.txt", "a.csv", "notes.md"):
            (tmp_path / "all" / name).write_text("url\nhttps://a.example/1.jpg\n")
        made = listed("all")
        assert made.job == "all"
        assert [(Path(detail.path).name, detail.name) for _, detail in made.sources] == [
            ("a.csv", "a.csv"),
            ("b.txt", "b.txt"),
        ]
        assert [detail.name for _, detail in listed("all", input_format="txt").sources] == ["b.txt"]
        with pytest.raises(UsageError, match=r"the list all is not there: no file in this folder ends in \.json"):
            listed("all", input_format="json")
        (tmp_path / "all" / "c.csv").write_text("a,b\n1,2\n")
        with pytest.raises(UsageError, match=r"all/c\.csv cannot be read: no column 'url'; it has a, b"):
            listed("all")

    @pytest.mark.parametrize(
        ("key", "value"), [("per", "row"), ("verify_hash", "md5"), ("columns", ("a",)), ("input_format", "csv")]
    )
    def test_are_named_where_something_is_said_of_one(self, key: str, value: Any) -> None:
        with pytest.raises(UsageError, match=f"--{key.replace('_', '-')} is of a list: name one with --urls"):
            spec(**{key: value})


class TestStandardInput:
    def test_is_kept_in_the_state_of_the_job(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        stdin_of(monkeypatch, b"https://a.example/1.jpg\n")
        made = listed("-")
        ((name, detail),) = made.sources
        assert (made.job, name, detail.sort) == ("list", "stdin:", "list")
        assert Path(detail.path).parent == tmp_path / "state" / "crawler" / "list"
        assert Path(detail.path).read_bytes() == b"https://a.example/1.jpg\n"

    def test_with_a_column_is_a_table(self, monkeypatch: pytest.MonkeyPatch) -> None:
        stdin_of(monkeypatch, b"link,x\nhttps://a.example/1.jpg,1\n")
        ((_, detail),) = listed("-", url_column="link", job="j").sources
        assert detail.path.endswith(".csv") and detail.url_column == "link"
        stdin_of(monkeypatch, b"link,x\nhttps://a.example/1.jpg,1\n")
        with pytest.raises(UsageError, match="no column 'url'; it has link, x"):
            listed("-", url_column="url", job="j")

    def test_is_what_it_is_said_to_be(self, monkeypatch: pytest.MonkeyPatch) -> None:
        stdin_of(monkeypatch, gzip.compress(b"url,n\nhttps://a.example/1.jpg,1\n"))
        ((_, detail),) = listed("-", input_format="csv.gz").sources
        assert detail.path.endswith(".csv.gz") and detail.format == "csv.gz"

    def test_without_a_byte_is_the_list_of_before(self, monkeypatch: pytest.MonkeyPatch) -> None:
        stdin_of(monkeypatch, b"")
        with pytest.raises(UsageError, match="the list on standard input is empty"):
            listed("-")
        stdin_of(monkeypatch, b"https://a.example/1.jpg\n")
        before = listed("-").sources
        stdin_of(monkeypatch, b"")
        assert listed("-").sources == before

    def test_that_is_closed_is_said(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "stdin", None)
        with pytest.raises(UsageError, match="--urls - reads standard input, which is closed"):
            listed("-")

    def test_that_cannot_be_kept_is_said(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        stdin_of(monkeypatch, b"https://a.example/1.jpg\n")
        with pytest.raises(CrawlerError, match=r"the list that comes by a pipe cannot be kept in .*Not a directory"):
            listed("-", state=tmp_path / "file")

    def test_a_pipe_is_kept_alike(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        writer = threading.Thread(
            target=(tmp_path / "pipe").write_bytes, args=(b'{"url": "https://a.example/1.jpg"}\n',)
        )
        writer.start()
        made = listed("pipe")
        writer.join()
        ((name, detail),) = made.sources
        assert (made.job, name) == ("pipe", "pipe:")
        assert detail.path.endswith(".jsonl") and Path(detail.path).read_bytes().startswith(b'{"url"')


class TestLocalKey:
    def test_is_made_once_for_its_owner_alone(self, tmp_path: Path) -> None:
        key = local_key(None, tmp_path / "s")
        assert len(key) == 64 and local_key(None, tmp_path / "s") == key
        assert stat.S_IMODE((tmp_path / "s" / "key").stat().st_mode) == 0o600
        assert local_key(None, tmp_path / "other") != key

    def test_of_the_environment_goes_before_the_file_of_the_state(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("CRAWLER_KEY", f"  {KEY}\n")
        assert local_key(None, tmp_path / "s") == KEY.encode()
        assert not (tmp_path / "s").exists()

    def test_of_the_flag_goes_before_the_environment(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("CRAWLER_KEY", "e" * 64)
        assert local_key(key_at(tmp_path / "k"), tmp_path / "s") == KEY.encode()
        made = local_key(tmp_path / "new" / "k", tmp_path / "s")
        assert (tmp_path / "new" / "k").read_text().strip().encode() == made

    def test_an_empty_variable_is_none(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("CRAWLER_KEY", "")
        assert local_key(None, tmp_path) == (tmp_path / "key").read_text().strip().encode()

    @pytest.mark.parametrize("text", ["short", " " * 40, "x" * 31])
    def test_that_is_short_is_refused_with_its_place(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str
    ) -> None:
        monkeypatch.setenv("CRAWLER_KEY", text)
        with pytest.raises(UsageError, match="the key in CRAWLER_KEY is shorter than 32 characters"):
            local_key(None, tmp_path)
        with pytest.raises(UsageError, match=r"the key in .*/k is shorter than 32 characters"):
            local_key(key_at(tmp_path / "k", text), tmp_path)

    def test_that_is_no_text_is_refused(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("CRAWLER_KEY", "\udcff" * 40)
        with pytest.raises(UsageError, match="CRAWLER_KEY"):
            local_key(None, tmp_path)

    def test_that_others_can_read_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=r"can be read by others; run: chmod 600 .*/k"):
            local_key(key_at(tmp_path / "k", mode=0o644), tmp_path)

    def test_that_cannot_be_read_or_made_is_said(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(UsageError, match=r"the key file .* cannot be made: .* --key-file or --state"):
            local_key(None, tmp_path / "file")
        with pytest.raises(UsageError, match=r"the key file .* cannot be read: Is a directory"):
            local_key(tmp_path, tmp_path)
        (tmp_path / "k").write_bytes(b"\xff" * 64)
        with pytest.raises(UsageError, match=r"the key file .* cannot be read: it is no text"):
            local_key(tmp_path / "k", tmp_path)


class TestWorkerKey:
    @pytest.fixture(autouse=True)
    def nobody_there(self, monkeypatch: pytest.MonkeyPatch) -> None:
        stdin_of(monkeypatch, b"")

    def test_of_the_flag_is_never_made(self, tmp_path: Path) -> None:
        assert worker_key(key_at(tmp_path / "k"), tmp_path, FAR) == KEY.encode()
        with pytest.raises(UsageError, match=r"the key file .*missing cannot be read: No such file"):
            worker_key(tmp_path / "missing", tmp_path, FAR)
        assert not (tmp_path / "missing").exists()

    @pytest.mark.parametrize(
        "server",
        [
            ServerAddress("127.0.0.1", 8001), ServerAddress("localhost", 1), ServerAddress("::1", 1),
            ServerAddress(path="/run/x.sock"),
        ],
    )  # fmt: skip
    def test_of_this_machine_is_made_by_whoever_comes_first(self, tmp_path: Path, server: ServerAddress) -> None:
        assert worker_key(None, tmp_path / "s", server) == local_key(None, tmp_path / "s")

    def test_is_that_of_the_environment_or_of_this_machine(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        key_at(tmp_path / "s" / "key", "f" * 64)
        assert worker_key(None, tmp_path / "s", FAR) == b"f" * 64
        monkeypatch.setenv("CRAWLER_KEY", KEY)
        assert worker_key(None, tmp_path / "s", FAR) == KEY.encode()

    def test_that_is_nowhere_is_said_with_what_to_do(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=r"no key for machine-a:8001: copy .* --key-file, or set CRAWLER_KEY"):
            worker_key(None, tmp_path, FAR)
        assert list(tmp_path.iterdir()) == []

    def test_is_asked_of_a_person(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        prompts: list[str] = []

        def answered(text: str) -> str:
            prompts.append(text)
            return f" {KEY} "

        monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
        monkeypatch.setattr(getpass, "getpass", answered)
        assert worker_key(None, tmp_path, FAR) == KEY.encode()
        assert prompts == ["Key of the collector at machine-a:8001: "]
        monkeypatch.setattr(getpass, "getpass", lambda _: "mistyped")
        with pytest.raises(UsageError, match="the key in the answer is shorter than 32 characters"):
            worker_key(None, tmp_path, FAR)

    def test_is_not_asked_for_where_standard_input_is_closed(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setattr(sys, "stdin", None)
        with pytest.raises(UsageError, match="no key for machine-a:8001"):
            worker_key(None, tmp_path, FAR)

    def test_that_a_person_does_not_know_is_none(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        def leave(_: str) -> str:
            raise EOFError

        monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
        monkeypatch.setattr(getpass, "getpass", leave)
        with pytest.raises(UsageError, match="key"):
            worker_key(None, tmp_path, FAR)
