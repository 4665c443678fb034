from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler import robots
from crawler.robots import MAX_BYTES, MAX_CRAWL_DELAY, Rules, digest, product_token, read
from crawler.urls import normalise
from robots_cases import LONGEST, SIMPLE

SITE = "https://example.com"


def allows(text: str, path: str, agent: str = "crawler") -> bool:
    return Rules(text, agent).allows(SITE + path)


@pytest.mark.parametrize(
    ("agent", "path", "expected"),
    [
        ("crawler", "/a.gif", False),
        ("crawler", "/a.gif?x", True),
        ("crawler", "/example/", False),
        ("crawler", "/example", True),
        ("crawler", "/publications/", True),
        ("crawler", "/", True),
        ("foobot", "/", False),
        ("foobot", "/publications/", False),
        ("foobot", "/example/page.html", True),
        ("foobot", "/example/allowed.gif", True),
        ("FooBot", "/other", False),
        ("barbot", "/example/page.html", False),
        ("bazbot", "/example/page.html", False),
        ("bazbot", "/example/other.gif", True),
        ("quxbot", "/example/", True),
    ],
)
def test_the_simple_example(agent: str, path: str, expected: bool) -> None:
    assert allows(SIMPLE, path, agent) is expected


def test_the_longest_match_wins() -> None:
    assert allows(LONGEST, "/example/page/other.gif", "foobot")
    assert not allows(LONGEST, "/example/page/disallowed.gif", "foobot")


def test_allow_wins_where_both_match_equally() -> None:
    assert allows("User-agent: *\nDisallow: /a\nAllow: /a\n", "/a")


@pytest.mark.parametrize(
    ("rule", "path", "expected"),
    [
        ("/*.php$", "/x/a.php", False),
        ("/*.php$", "/x/a.php5", True),
        ("/a*b", "/axxb", False),
        ("/a*b", "/axx", True),
        ("/foo/bar/%62%61%7A", "/foo/bar/baz", False),
        ("/foo/bar/ツ", "/foo/bar/%E3%83%84", False),
        ("/foo/bar/%E3%83%84", "/foo/bar/%E3%83%84", False),
        ("/?q=", "/?q=1", False),
        ("/a # comment", "/a", False),
        ("", "/a", True),
        ("/A", "/a", True),
    ],
)
def test_paths(rule: str, path: str, expected: bool) -> None:
    assert allows(f"user-agent: *\ndisallow: {rule}\n", path) is expected


class TestGroups:
    def test_rules_of_the_same_agent_in_two_groups_are_one_group(self) -> None:
        text = "User-agent: crawler\nDisallow: /a\n\nUser-agent: x\nDisallow: /\n\nUser-agent: crawler\nDisallow: /b\n"
        assert not allows(text, "/a") and not allows(text, "/b") and allows(text, "/c")

    def test_an_own_group_replaces_the_one_for_all(self) -> None:
        text = "User-agent: *\nDisallow: /\n\nUser-agent: Crawler\nDisallow: /private\n"
        assert allows(text, "/") and not allows(text, "/private")

    def test_rules_before_any_group_and_unknown_lines_are_nothing(self) -> None:
        text = "Disallow: /a\nNoindex: /a\nSitemap: https://example.com/map.xml\nUser-agent: *\nDisallow: /b\n"
        assert allows(text, "/a") and not allows(text, "/b")

    @pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
    def test_line_ends(self, ends: str) -> None:
        assert not allows(ends.join(["User-agent: *", "Disallow: /a", ""]), "/a")

    @pytest.mark.parametrize("text", ["", "  \n", "<html><body>Not found</body></html>", "\x00\xff", "User-agent"])
    def test_what_is_no_robots_txt_allows_everything(self, text: str) -> None:
        assert allows(text, "/a")


class TestCrawlDelay:
    @pytest.mark.parametrize(
        ("value", "expected"),
        [("2", 2.0), ("0.5", 0.5), ("0", 0.0), ("60", 60.0), ("86400", MAX_CRAWL_DELAY), ("-5", 0.0), ("soon", 0.0)],
    )
    def test_is_read_and_capped(self, value: str, expected: float) -> None:
        assert Rules(f"User-agent: *\nCrawl-delay: {value}\n", "crawler").crawl_delay == expected

    @pytest.mark.parametrize("value", ["nan", "inf", "1e400"])
    def test_what_is_no_finite_number_is_within_the_cap(self, value: str) -> None:
        assert 0.0 <= Rules(f"User-agent: *\nCrawl-delay: {value}\n", "crawler").crawl_delay <= MAX_CRAWL_DELAY

    def test_is_that_of_our_group(self) -> None:
        text = "User-agent: *\nCrawl-delay: 9\n\nUser-agent: crawler\nDisallow: /a\nCrawl-delay: 3\n"
        assert Rules(text, "crawler").crawl_delay == 3
        assert Rules(text, "other").crawl_delay == 9
        assert Rules("", "crawler").crawl_delay == 0


class TestRead:
    @pytest.mark.parametrize("status", [200, 201, 206])
    def test_success_is_its_text(self, status: int) -> None:
        robots = read(status, b"User-agent: *\nCrawl-delay: 90\nDisallow: /\n", "crawler")
        assert robots.reachable and "Disallow" in robots.text
        assert robots.crawl_delay == MAX_CRAWL_DELAY

    @pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 451])
    def test_unavailable_allows_everything(self, status: int) -> None:
        robots = read(status, b"User-agent: *\nDisallow: /\n", "crawler")
        assert robots.reachable and not robots.text

    @pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 599])
    def test_unreachable_allows_nothing(self, status: int) -> None:
        robots = read(status, b"", "crawler")
        assert not robots.reachable
        assert str(status) in robots.message

    def test_a_bom_is_no_part_of_the_first_line(self) -> None:
        robots = read(200, b"\xef\xbb\xbfUser-agent: *\nDisallow: /a\n", "crawler")
        assert not allows(robots.text, "/a")

    def test_bytes_that_are_no_utf8_spoil_only_their_line(self) -> None:
        robots = read(200, b"User-agent: *\nDisallow: /\xff\xfe\nDisallow: /b\n", "crawler")
        assert not allows(robots.text, "/b") and allows(robots.text, "/c")

    def test_what_is_beyond_the_limit_is_ignored(self) -> None:
        filler = b"# " + b"x" * MAX_BYTES + b"\n"
        robots = read(200, b"User-agent: *\nDisallow: /a\n" + filler + b"Disallow: /b\n", "crawler")
        assert len(robots.text) <= MAX_BYTES
        assert not allows(robots.text, "/a") and allows(robots.text, "/b")


@pytest.mark.parametrize(
    ("user_agent", "token"),
    [
        ("crawler/1.0 (+https://example.com)", "crawler"),
        ("crawler", "crawler"),
        ("My Bot/2", "My"),
        ("/1.0", "*"),
        ("", "*"),
    ],
)
def test_product_token(user_agent: str, token: str) -> None:
    assert product_token(user_agent) == token


def test_a_digest_tells_texts_apart_and_none_is_none() -> None:
    assert digest("") == ""
    assert digest("a") != digest("b") and len(digest("a")) == 32


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("/a?x=*b/c", "/a?x=zb/c"),
        ("/*?*redirect=/", "/p?redirect=/x"),
        ("/*?*redirect=/", "/p?redirect=%2Fx"),
        ("/*?*redirect=%2F", "/p?redirect=/x"),
        ("/*&url=http:", "/p?a=1&url=http://e.com"),
        ("/*[]=", "/?x[]=1"),
        ("/*[]=", "/?x%5B%5D=1"),
        ("/*?*@", "/?x@1"),
        ("/*/feed/", "/p?u=/feed/"),
        ("/*?c", "/a?b?c"),
        ("/a%5Bb", "/a[b"),
    ],
)
def test_wildcards_reach_into_queries(pattern: str, path: str) -> None:
    assert not Rules(f"User-agent: *\nDisallow: {pattern}", "crawler").allows(f"https://a.example{path}")


@given(st.text("ab/?:@[]%2F3f=&", max_size=14), st.data())
def test_a_star_for_any_part_of_a_url_forbids_it(rest: str, data: st.DataObject) -> None:
    url = normalise(f"https://a.example/{rest}")
    assert url is not None
    path = url.removeprefix("https://a.example")
    first = data.draw(st.integers(1, len(path)))
    last = data.draw(st.integers(first, len(path)))
    for cut in (first, last):
        if "%" in path[max(0, cut - 2) : cut]:
            return  # an encoded octet would be cut in two
    after = path[last:]
    if "?" not in path[:last] or "%" not in after:  # what follows the star cannot know that it is in a query
        assert not Rules(f"User-agent: *\nDisallow: {path[:first]}*{after}", "crawler").allows(url)


class TestHostile:
    """Each URL of a site is held against its robots.txt, by the loop that serves all sites."""

    LONG = "https://a.example/" + "a" * 8000

    ALL = "https://a.example/" + "a" * 8000 + "0123456789b"

    def test_only_so_much_is_searched(self, monkeypatch: pytest.MonkeyPatch) -> None:
        searched = []
        matches = robots._matches

        def counting(path: str, parts: list[str], ends: bool) -> bool:
            searched.append(len(path))
            return matches(path, parts, ends)

        monkeypatch.setattr(robots, "_matches", counting)
        rules = Rules("User-agent: *\n" + "".join(f"Disallow: /*a{n}b\n" for n in range(40_000)), "crawler")
        assert rules.allows(self.LONG) and not searched, "what has other characters need not be searched for"
        assert not rules.allows(self.ALL), "what was not searched for may forbid it"
        assert sum(searched) <= robots.MAX_SEARCHED

    @pytest.mark.parametrize(
        ("first", "allowed"), [("Allow: /aaaaaaaaaa", True), ("Disallow: /aaaaaaaaaa", False), ("Allow: /a", False)]
    )
    def test_what_is_longer_than_all_that_was_not_searched_for_decides(self, first: str, allowed: bool) -> None:
        many = "".join(f"Disallow: /*{n:05}\n" for n in range(40_000))
        assert Rules(f"User-agent: *\n{first}\n{many}", "crawler").allows(self.ALL) is allowed

    @pytest.mark.parametrize("stars", ["*", "**", "*" * 400_000])
    def test_stars_beside_stars_mean_one(self, stars: str) -> None:
        rules = Rules(f"User-agent: *\nDisallow: /{stars}b{stars}$", "crawler")
        assert not rules.allows("https://a.example/abc") and rules.allows("https://a.example/acc")
        assert all(len(parts) <= 3 for _, _, parts, *_ in rules._patterns._wild)
