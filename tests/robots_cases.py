"""robots.txt files and the verdicts that RFC 9309 gives on them.

`RFC` holds the standard's own examples, `OWN` files of our own for the corners of its grammar. What the standard
leaves open (misspelled directives, a missing colon, spaces within a path, agent names that are no product token, which
of two matches is longer where one has a wildcard) has no verdict here, though the lines around it have.
"""

from __future__ import annotations

import codecs
from typing import NamedTuple

SITE = "https://example.com"
LIMIT = 500 * 1024  #: bytes that have to be parsed at least (2.5)


class Case(NamedTuple):
    """One robots.txt: its bytes, the product token that asks, and which URLs it may and may not ask for."""

    name: str
    body: bytes
    agent: str
    allowed: tuple[str, ...]
    denied: tuple[str, ...]


def case(name: str, text: str | bytes, *, allowed: str = "", denied: str = "", agent: str = "crawler") -> Case:
    """Return a case; `allowed` and `denied` are paths or URLs, parted by spaces."""
    body = text.encode() if isinstance(text, str) else text
    return Case(name, body, agent, _urls(allowed), _urls(denied))


def _urls(text: str) -> tuple[str, ...]:
    return tuple(word if word.startswith("http") else SITE + word for word in text.split())


def lines(*each: str) -> str:
    return "".join(f"{line}\n" for line in each)


def for_all(*each: str) -> str:
    """Return a group for every agent with these rules."""
    return lines("User-agent: *", *each)


def deny(path: str) -> str:
    return for_all(f"Disallow: {path}")


# The standard's own examples

MERGED = """\
user-agent: ExampleBot
disallow: /foo
disallow: /bar

user-agent: ExampleBot
disallow: /baz
"""
SPECIFIC = """\
user-agent: *
disallow: /foo
disallow: /bar

user-agent: ExampleBot
disallow: /baz
"""
SIMPLE = """\
User-Agent: *
Disallow: *.gif$
Disallow: /example/
Allow: /publications/

User-Agent: foobot
Disallow:/
Allow:/example/page.html
Allow:/example/allowed.gif

User-Agent: barbot
User-Agent: bazbot
Disallow: /example/page.html

User-Agent: quxbot
"""
LONGEST = """\
User-Agent: foobot
Allow: /example/page/
Disallow: /example/page/disallowed.gif
"""
#: Rows of the table in 2.2.2: the ways to write one path; each is matched by each.
SAME_PATHS = {
    "plain-query": ("/foo/bar?baz=quz",),
    "url-in-query": ("/foo/bar?baz=https://foo.bar", "/foo/bar?baz=https%3A%2F%2Ffoo.bar"),
    "utf-8": ("/foo/bar/ツ", "/foo/bar/%E3%83%84"),
    "unreserved": ("/foo/bar/%62%61%7A", "/foo/bar/baz"),
}

RFC = [
    case("2.2.1-merged", MERGED, agent="ExampleBot", denied="/foo /bar /baz", allowed="/boz /"),
    case("2.2.1-merged-for-others", MERGED, agent="OtherBot", allowed="/foo /bar /baz"),
    case("2.2.1-specific", SPECIFIC, agent="ExampleBot", denied="/baz", allowed="/foo /bar"),
    case("2.2.1-specific-for-others", SPECIFIC, agent="OtherBot", denied="/foo /bar", allowed="/baz"),
    *(
        case(f"2.2.2-{name}-{number}", deny(path), denied=" ".join(paths), allowed="/foo/ /foo/ba /other")
        for name, paths in SAME_PATHS.items()
        for number, path in enumerate(paths, 1)
    ),
    case("2.2.3-comment-in-line", for_all("Disallow: /", "allow: / # comment in line"), allowed="/ /a"),
    case("2.2.3-comment-on-its-own-line", for_all("# comment on its own line", "disallow: /a"), denied="/a"),
    case(
        "2.2.3-end",
        for_all("disallow: /this", "allow: /this/path/exactly$"),
        allowed="/this/path/exactly",
        denied="/this/path/exactly/ /this/path/exactly.html /this/path/exactly?a /this/path/exact",
    ),
    case(
        "2.2.3-any",
        for_all("disallow: /this", "allow: /this/*/exactly"),
        allowed="/this/path/exactly /this/a/b/exactly /this//exactly /this/path/exactly/so",
        denied="/this/exactly /this/path/exact /this/path",
    ),
    case(
        "2.2.3-verbatim-star",
        deny("/path/file-with-a-%2A.html"),
        denied="https://www.example.com/path/file-with-a-*.html /path/file-with-a-%2A.html /path/file-with-a-%2a.html",
        allowed="/path/file-with-a-.html /path/file-with-a-b.html",
    ),
    case(
        "2.2.3-verbatim-dollar",
        deny("/path/foo-%24"),
        denied="https://www.example.com/path/foo-$ /path/foo-%24 /path/foo-$/more",
        allowed="/path/foo- /path/foo-b",
    ),
    case(
        "5.1-all",
        SIMPLE,
        denied="/a.gif /b/c.gif /example/ /example/page.html",
        allowed="/ /a.gif?b /a.gifs /example /publications/ /publications/a",
    ),
    case(
        "5.1-foobot",
        SIMPLE,
        agent="foobot",
        allowed="/example/page.html /example/allowed.gif",
        denied="/ /a /publications/ /example/",
    ),
    case("5.1-barbot", SIMPLE, agent="barbot", denied="/example/page.html", allowed="/ /a.gif /example/"),
    case("5.1-bazbot", SIMPLE, agent="bazbot", denied="/example/page.html", allowed="/ /a.gif /example/"),
    case("5.1-quxbot", SIMPLE, agent="quxbot", allowed="/ /a.gif /example/ /example/page.html"),
    case(
        "5.2-foobot",
        LONGEST,
        agent="foobot",
        allowed="/example/page/ /example/page/allowed.gif /other",
        denied="/example/page/disallowed.gif",
    ),
]

# Which group is ours

AGENTS = [
    case("several-agent-lines", lines("User-agent: a", "User-agent: crawler", "Disallow: /a"), denied="/a"),
    case("several-agent-lines-last-is-all", lines("User-agent: a", "User-agent: *", "Disallow: /a"), denied="/a"),
    case(
        "own-group-and-all-in-one",
        lines("User-agent: crawler", "User-agent: *", "Disallow: /a"),
        denied="/a",
        allowed="/b",
    ),
    case(
        "blank-lines-end-no-group",
        lines("User-agent: crawler", "", "", "Disallow: /a", "", "Disallow: /b"),
        denied="/a /b",
    ),
    case(
        "blank-lines-between-agents",
        lines("User-agent: crawler", "", "User-agent: other", "", "Disallow: /a"),
        denied="/a",
    ),
    case(
        "an-agent-without-rules-shares-the-next-ones",
        lines("User-agent: crawler", "", "User-agent: *", "Disallow: /"),
        denied="/ /a",
    ),
    case(
        "comments-between-agents",
        lines("User-agent: crawler # us", "# and", "User-agent: other# them", "Disallow: /a"),
        denied="/a",
    ),
    case(
        "groups-of-one-agent-are-merged",
        lines(
            "User-agent: crawler",
            "Disallow: /a",
            "User-agent: x",
            "Disallow: /x",
            "User-agent: crawler",
            "Disallow: /b",
        ),
        denied="/a /b",
        allowed="/x",
    ),
    case(
        "longest-match-over-merged-groups",
        lines(
            "User-agent: crawler", "Disallow: /a", "User-agent: x", "Disallow: /", "User-agent: crawler", "Allow: /a/b"
        ),
        denied="/a /a/c",
        allowed="/a/b /",
    ),
    case(
        "groups-for-all-are-merged",
        for_all("Disallow: /a") + lines("User-agent: x", "Disallow: /") + for_all("Disallow: /b"),
        denied="/a /b",
        allowed="/c",
    ),
    case(
        "merged-though-spelled-in-other-case",
        lines(
            "User-agent: Crawler",
            "Disallow: /a",
            "User-agent: x",
            "Disallow: /x",
            "User-agent: CRAWLER",
            "Disallow: /b",
        ),
        denied="/a /b",
        allowed="/x",
    ),
    case(
        "a-shared-group-and-one-of-its-own",
        lines("User-agent: x", "User-agent: crawler", "Disallow: /a", "User-agent: crawler", "Disallow: /b"),
        denied="/a /b",
    ),
    case(
        "an-agent-twice-in-one-group", lines("User-agent: crawler", "User-agent: crawler", "Disallow: /a"), denied="/a"
    ),
    case("token-in-upper-case", lines("User-agent: CRAWLER", "Disallow: /a"), denied="/a"),
    case("asked-in-mixed-case", lines("User-agent: crawler", "Disallow: /a"), agent="CrAwLeR", denied="/a"),
    case(
        "token-is-a-prefix-of-ours",
        lines("User-agent: crawler", "Disallow: /a"),
        agent="crawlerbot",
        allowed="/a",
    ),
    case(
        "token-is-a-prefix-of-ours-and-all",
        lines("User-agent: crawler", "Disallow: /a") + for_all("Disallow: /b"),
        agent="crawlerbot",
        allowed="/a",
        denied="/b",
    ),
    case("ours-is-a-prefix-of-the-token", lines("User-agent: crawlerbot", "Disallow: /a"), allowed="/a"),
    case("token-is-the-end-of-ours", lines("User-agent: bot", "Disallow: /a"), agent="crawlerbot", allowed="/a"),
    case("token-is-before-a-hyphen", lines("User-agent: image", "Disallow: /a"), agent="image-crawler", allowed="/a"),
    case("token-is-after-a-hyphen", lines("User-agent: crawler", "Disallow: /a"), agent="image-crawler", allowed="/a"),
    case("token-is-before-an-underscore", lines("User-agent: image", "Disallow: /a"), agent="image_bot", allowed="/a"),
    case(
        "hyphen-and-underscore",
        lines("User-agent: image-crawler_b", "Disallow: /a"),
        agent="Image-Crawler_B",
        denied="/a",
    ),
    case(
        "longer-token-is-another-agent",
        lines("User-agent: image-crawler", "Disallow: /a", "User-agent: image", "Disallow: /b"),
        agent="image",
        denied="/b",
        allowed="/a",
    ),
    case(
        "both-tokens-ours-is-the-longer",
        lines("User-agent: image", "Disallow: /b", "User-agent: image-crawler", "Disallow: /a"),
        agent="image-crawler",
        denied="/a",
        allowed="/b",
    ),
    case(
        "own-group-replaces-all",
        for_all("Disallow: /") + lines("User-agent: crawler", "Disallow: /a"),
        denied="/a",
        allowed="/ /b",
    ),
    case(
        "own-group-first-replaces-all",
        lines("User-agent: crawler", "Disallow: /a") + for_all("Disallow: /"),
        denied="/a",
        allowed="/ /b",
    ),
    case(
        "own-group-only-allows", for_all("Disallow: /") + lines("User-agent: crawler", "Allow: /a"), allowed="/ /a /b"
    ),
    case("own-group-is-empty-at-the-end", for_all("Disallow: /") + lines("User-agent: crawler"), allowed="/ /a"),
    case("own-group-is-empty-without-newline", for_all("Disallow: /") + "User-agent: crawler", allowed="/ /a"),
    case(
        "own-group-has-only-an-empty-rule",
        for_all("Disallow: /") + lines("User-agent: crawler", "Disallow:"),
        allowed="/ /a",
    ),
    case(
        "only-groups-of-others", lines("User-agent: x", "Disallow: /", "User-agent: y", "Disallow: /"), allowed="/ /a"
    ),
    case(
        "fallback-before-others",
        for_all("Disallow: /a") + lines("User-agent: x", "Disallow: /b"),
        denied="/a",
        allowed="/b",
    ),
    case(
        "rules-before-any-group",
        lines("Disallow: /a", "Allow: /", "User-agent: *", "Disallow: /b"),
        allowed="/a",
        denied="/b",
    ),
    case("rules-without-any-group", lines("Disallow: /", "Disallow: /a"), allowed="/ /a"),
]

# Lines

LINES = [
    case("lf", "User-agent: *\nDisallow: /a\nDisallow: /b\n", denied="/a /b", allowed="/c"),
    case("crlf", "User-agent: *\r\nDisallow: /a\r\nDisallow: /b$\r\n", denied="/a /b", allowed="/c /bb"),
    case("cr", "User-agent: *\rDisallow: /a\rDisallow: /b$\r", denied="/a /b", allowed="/c /bb"),
    case("all-line-ends", "User-agent: *\r\nDisallow: /a\rDisallow: /b\n\rDisallow: /c\n", denied="/a /b /c"),
    case("last-line-without-end", "User-agent: *\nDisallow: /a", denied="/a", allowed="/b"),
    case("line-separator-ends-no-path", deny("/a\u2028b"), denied="/a%E2%80%A8b", allowed="/a /ab"),
    case(
        "paragraph-separator-ends-no-comment",
        for_all("# so\u2029Disallow: /", "Disallow: /a"),
        denied="/a",
        allowed="/b",
    ),
    case("next-line-ends-no-comment", for_all("# so\u0085Disallow: /", "Disallow: /a"), denied="/a", allowed="/b"),
    case("form-feed-ends-no-comment", for_all("# so\x0cDisallow: /", "Disallow: /a"), denied="/a", allowed="/b"),
    case("keys-in-any-case", "uSeR-aGeNt: *\nDISALLOW: /a\naLLOW: /a/b\n", denied="/a", allowed="/a/b"),
    case("space-before-the-colon", "User-agent : *\nDisallow\t : /a\nAllow  :/a/b\n", denied="/a", allowed="/a/b /b"),
    case("no-space-after-the-colon", "User-agent:*\nDisallow:/a\nAllow:/a/b\n", denied="/a", allowed="/a/b"),
    case("tabs", "\tUser-agent:\t*\t\n\tDisallow:\t\t/a\t\n", denied="/a /ab", allowed="/b"),
    case("indented", "   User-agent: *\n      Disallow: /a\n", denied="/a", allowed="/b"),
    case(
        "space-at-the-end",
        "User-agent: crawler   \nDisallow: /a$ \t \nDisallow: /b  \n",
        denied="/a /b /bc",
        allowed="/ab",
    ),
    case("no-break-space-is-no-space", deny("/a\u00a0"), denied="/a%C2%A0 /a%C2%A0b", allowed="/a /ab"),
    case("comment-at-once-after-the-path", deny("/a#b"), denied="/a /ac", allowed="/b"),
    case("comment-with-more-signs", for_all("Disallow: /a ## b # Disallow: /c"), denied="/a", allowed="/b /c"),
    case("comment-instead-of-a-path", for_all("Disallow: # /", "Disallow: /a"), denied="/a", allowed="/ /b"),
    case("comment-before-a-rule", for_all("# Disallow: /", "#Disallow: /", " \t# Disallow: /"), allowed="/ /a"),
    case("comment-first", lines("# robots.txt", "", "# all", "User-agent: *", "Disallow: /a"), denied="/a"),
    case("sitemap-within-a-group", for_all("Disallow: /a", f"Sitemap: {SITE}/s.xml", "Disallow: /b"), denied="/a /b"),
    case(
        "sitemap-between-agents",
        lines("User-agent: crawler", f"Sitemap: {SITE}/s.xml", "User-agent: x", "Disallow: /a"),
        denied="/a",
    ),
    case("sitemap-before-rules", for_all(f"Sitemap: {SITE}/s.xml", "", "Disallow: /a"), denied="/a"),
    case(
        "crawl-delay-within-a-group",
        for_all("Crawl-delay: 1", "Disallow: /a", "Crawl-delay: 2", "Disallow: /b"),
        denied="/a /b",
    ),
    case(
        "crawl-delay-between-agents",
        lines("User-agent: crawler", "Crawl-delay: 1", "User-agent: x", "Disallow: /a"),
        denied="/a",
    ),
    case(
        "unknown-records-within-a-group",
        for_all(
            "Host: example.com", "Clean-param: a /", "Disallow: /a", "Noindex: /c", "Request-rate: 1/5", "Disallow: /b"
        ),
        denied="/a /b",
        allowed="/c",
    ),
    case(
        "unknown-record-between-agents",
        lines("User-agent: crawler", "X-Contact: me", "User-agent: x", "Disallow: /a"),
        denied="/a",
    ),
    case(
        "a-line-without-a-colon",
        for_all("Disallow: /a", "this is no record", "Disallow: /b"),
        denied="/a /b",
        allowed="/c",
    ),
    case("a-colon-alone", for_all(":", ": /c", "Disallow: /a"), denied="/a", allowed="/c"),
]

# Paths

PATHS = [
    case("empty-disallow", for_all("Disallow:"), allowed="/ /a"),
    case("empty-disallow-is-no-rule", for_all("Disallow:", "Disallow: /a"), denied="/a", allowed="/b"),
    case("empty-allow-is-no-rule", for_all("Allow:", "Disallow: /"), denied="/ /a"),
    case("everything", for_all("Disallow: /"), denied=f"/ /a /a?b {SITE} {SITE}:8443/a http://example.com/a"),
    case("allow-alone", for_all("Allow: /a"), allowed="/ /a /b"),
    case("prefix", deny("/a"), denied="/a /a/ /ab /a.html /a?b", allowed="/ /A /b /b/a"),
    case("prefix-with-slash", deny("/a/"), denied="/a/ /a/b /a/?b", allowed="/a /ab /a?b"),
    case("case-of-the-path", deny("/Secret"), denied="/Secret", allowed="/secret /SECRET"),
    case("starts-at-the-first-octet", deny("/b"), denied="/b", allowed="/a/b /a?/b"),
    case("double-slash", deny("/a//b"), denied="/a//b", allowed="/a/b"),
    case("double-slash-at-the-start", deny("//a"), denied="//a", allowed="/a"),
    case("a-whole-url-is-no-path", for_all(f"Disallow: {SITE}/a", "Disallow: /b"), denied="/b", allowed="/a /"),
    case("longest-is-allow", for_all("Disallow: /a", "Allow: /a/b"), denied="/a /a/c", allowed="/a/b /a/bc"),
    case("longest-is-disallow", for_all("Allow: /a", "Disallow: /a/b"), denied="/a/b", allowed="/a /a/c"),
    case(
        "order-is-nothing",
        for_all("Allow: /a/b", "Disallow: /", "Allow: /a/b/c/d", "Disallow: /a/b/c"),
        denied="/ /a/b/c",
        allowed="/a/b /a/b/c/d",
    ),
    case("equal-is-allowed", for_all("Disallow: /a", "Allow: /a"), allowed="/a /ab"),
    case("equal-is-allowed-first", for_all("Allow: /a", "Disallow: /a", "Disallow: /a"), allowed="/a /ab"),
    case("equal-once-decoded", for_all("Disallow: /%61%62", "Allow: /ab"), allowed="/ab /abc"),
    case("equal-once-encoded", for_all("Disallow: /ツ", "Allow: /%e3%83%84"), allowed="/%E3%83%84 /ツ"),
    case("decoded-octets-count", for_all("Disallow: /%61%62%63", "Allow: /abcd"), denied="/abc", allowed="/abcd"),
    case("only-the-root", for_all("Disallow: /", "Allow: /$"), allowed=f"/ {SITE}", denied="/a /?a /index.html"),
    case(
        "index-is-not-the-root", for_all("Disallow: /", "Allow: /index.html"), allowed="/index.html", denied="/ /index"
    ),
    case(
        "index-is-not-its-folder",
        for_all("Disallow: /a", "Allow: /a/index.html"),
        allowed="/a/index.html",
        denied="/a/ /a",
    ),
    case(
        "robots-txt-itself",
        for_all("Disallow: /", "Disallow: /robots.txt"),
        allowed="/robots.txt",
        denied="/a/robots.txt /robots.txt.bak /Robots.txt /?/robots.txt",
    ),
    case("query", deny("/a?b=c"), denied="/a?b=c /a?b=cd /a?b=c&d", allowed="/a /a?d /a?d&b=c /a?b"),
    case("query-of-the-root", deny("/?"), denied="/? /?a", allowed="/ /a?b"),
    case("any-query", deny("/*?"), denied="/a? /a?b /?b /a/b?c", allowed="/a /a%3Fb"),
    case("empty-query", deny("/*?$"), denied="/a? /?", allowed="/a /a?b"),
    case(
        "parameter-anywhere",
        for_all("Disallow: /*?id=", "Disallow: /*?*&id="),
        denied="/a?id=1 /a?b&id=1",
        allowed="/a?bid=1 /a&id=1",
    ),
    case("fragment-is-no-path", for_all("Disallow: /*b", "Disallow: /c$"), denied="/c#d /b#c", allowed="/a#b"),
    case("end", deny("/a$"), denied="/a /a#b", allowed="/ab /a/ /a? /a?b /"),
    case("end-is-no-dollar", deny("/a$"), denied="/a", allowed="/a$ /a$b /a%24 /a%24b"),
    case("end-is-no-longer-dollar", for_all("Disallow: /a$", "Allow: /a"), allowed="/a$ /a$b /ab"),
    case(
        "dollar-in-the-middle-ends-nothing",
        for_all("Disallow: /a$b", "Disallow: /c"),
        denied="/c",
        allowed="/a /ab /a/b",
    ),
    case("verbatim-dollar-and-end", deny("/a%24$"), denied="/a$ /a%24", allowed="/a /a$b"),
    case("verbatim-star-is-none", for_all("Disallow: /a%2Ab"), denied="/a*b /a%2ab", allowed="/ab /acb"),
    case("suffix", deny("/*.gif$"), denied="/a.gif /a/b.gif /.gif /a?b.gif", allowed="/a.gif?b /a.gifs /agif /a.GIF"),
    case("star-is-anything", deny("/a*z"), denied="/az /abz /a/b/z /a?z /azz /a*z", allowed="/a /ab /za"),
    case("star-at-the-end", deny("/a*"), denied="/a /ab /a/b", allowed="/ /b"),
    case("star-and-end", deny("/a*$"), denied="/a /ab /a/b?c", allowed="/ /b"),
    case("star-alone", deny("/*"), denied="/ /a /a?b"),
    case("several-stars", deny("/*/b/*/d"), denied="/a/b/c/d /a/x/b/c/x/d/e //b//d", allowed="/a/b/d /b/c/d /a/b/c"),
    case("stars-in-a-row", deny("/a***b**$"), denied="/ab /acb /abc", allowed="/a /cab"),
    case("star-goes-back", deny("/*ab$"), denied="/ab /abab /xaab", allowed="/aba /ba"),
    case(
        "star-takes-nothing-twice",
        for_all("Disallow: /a*a$", "Disallow: /xy*yx$"),
        denied="/aa /aba /xyyx",
        allowed="/a /xyx",
    ),
]

# Encodings

ENCODINGS = [
    case("reserved-slash", deny("/a%2Fb"), denied="/a%2Fb /a%2fb", allowed="/a/b"),
    case("a-slash-is-not-encoded", deny("/a/b"), denied="/a/b", allowed="/a%2Fb"),
    case("reserved-question-mark", deny("/a%3Fb"), denied="/a%3Fb /a%3fb", allowed="/a?b"),
    case("a-query-is-not-encoded", deny("/a?b"), denied="/a?b", allowed="/a%3Fb"),
    case("reserved-equals-sign", deny("/a?b%3Dc"), denied="/a?b%3Dc /a?b%3dc", allowed="/a?b=c"),
    case("reserved-number-sign", deny("/a%23b"), denied="/a%23b", allowed="/a /a#b"),
    case(
        "hex-in-lower-case", deny("/%e3%83%84%3c"), denied="/%E3%83%84%3C /%e3%83%84%3c /ツ%3C", allowed="/%E3%83%85%3C"
    ),
    case("encoded-angle", deny("/a%3Cd.html"), denied="/a%3Cd.html /a%3cd.html /a<d.html", allowed="/ad.html"),
    case("bare-angle", deny("/a<d.html"), denied="/a%3Cd.html /a%3cd.html /a<d.html", allowed="/ad.html"),
    case("encoded-tilde", deny("/%7Ejoe/"), denied="/~joe/ /%7Ejoe/ /%7ejoe/", allowed="/joe/"),
    case("bare-tilde", deny("/~joe/"), denied="/~joe/ /%7Ejoe/ /%7ejoe/", allowed="/joe/"),
    case("unreserved-marks", deny("/a-b._c"), denied="/a-b._c /a%2Db%2E%5Fc /a%2db%2e%5fc", allowed="/a-b_c"),
    case("letters-and-digits", deny("/%41%31z"), denied="/A1z /%41%31%7A /%411z", allowed="/a1z"),
    case("encoded-percent-sign", deny("/100%25"), denied="/100%25 /100%25a", allowed="/100"),
    case("decoded-only-once", deny("/%2541"), denied="/%2541", allowed="/A /%41"),
    case("encoded-space", deny("/a%20b"), denied="/a%20b", allowed="/a+b /ab"),
    case("plus-is-no-space", deny("/a?q=x+y"), denied="/a?q=x+y", allowed="/a?q=x%20y"),
    case("two-octet-characters", deny("/café"), denied="/café /caf%C3%A9 /caf%c3%a9/x", allowed="/cafe /caf%C3%A8"),
    case("four-octet-characters", deny("/🦊/"), denied="/🦊/ /%F0%9F%A6%8A/", allowed="/%F0%9F%A6%8B/"),
    case("utf-8-in-a-query", deny("/a?q=ツ"), denied="/a?q=ツ /a?q=%E3%83%84", allowed="/a?q=%E3%83%85"),
    case("star-between-utf-8", deny("/é*é$"), denied="/%C3%A9%C3%A9 /é/é", allowed="/%C3%A9 /éa"),
    case("composed-is-not-decomposed", deny("/\u00e9"), denied="/%C3%A9", allowed="/e%CC%81"),
    case(
        "encoded-octets-that-are-no-utf-8", deny("/caf%E9"), denied="/caf%E9 /caf%e9/x", allowed="/caf%E8 /caf%EF%BF%BD"
    ),
    case(
        "invalid-utf-8-spoils-its-line-only",
        b"User-agent: *\nDisallow: /x\xff\xfe\nDisallow: /b\n",
        denied="/b",
        allowed="/c",
    ),
    case("invalid-utf-8-in-a-comment", b"# caf\xe9\nUser-agent: *\n# \xe9\nDisallow: /a\n", denied="/a", allowed="/b"),
    case("nul-spoils-its-line-only", b"User-agent: *\nDisallow: /x\x00y\nDisallow: /b\n", denied="/b", allowed="/c"),
    case("byte-order-mark", codecs.BOM_UTF8 + deny("/a").encode(), denied="/a", allowed="/b"),
    case(
        "byte-order-mark-and-comment", codecs.BOM_UTF8 + b"# all\r\n" + deny("/a").encode(), denied="/a", allowed="/b"
    ),
]

# Files that are large, or no robots.txt at all

HTML = """\
<!doctype html>
<html><head><title>Not found</title><style>a:hover { color: red }</style></head>
<body><p>Disallow: /a</p>
<a href="https://example.com/">Home: here</a></body></html>
"""
QUOTED = """\
<html><body><pre>
User-agent: *
Disallow: /a
</pre></body></html>
"""
MANY = for_all(*(f"Disallow: /n/{number}/" for number in range(5_000)), "Allow: /n/4999/open")
GROUPS = "".join(lines(f"User-agent: bot-{'x' * number}", "Disallow: /") for number in range(1, 500))
LONG = "/" + 4_000 * "a"

FILES = [
    case("empty", "", allowed="/ /a"),
    case("blank", "\n \t\r\n\n", allowed="/ /a"),
    case("only-a-byte-order-mark", codecs.BOM_UTF8, allowed="/ /a"),
    case("only-comments", lines("# User-agent: *", "# Disallow: /"), allowed="/ /a"),
    case("html", HTML, allowed="/ /a"),
    case("html-that-quotes-rules", QUOTED, denied="/a", allowed="/ /b"),
    case("binary", bytes(range(256)) * 8, allowed="/ /a"),
    case("many-rules", MANY, denied="/n/0/ /n/4999/ /n/2500/a", allowed="/n/5000/ /n/4999/open /n/"),
    case("many-groups", GROUPS + lines("User-agent: crawler", "Disallow: /a"), denied="/a", allowed="/b"),
    case("a-long-comment", for_all("# " + 200_000 * "x", "Disallow: /a # " + 200_000 * "y"), denied="/a", allowed="/b"),
    case("a-long-path", deny(LONG + "$"), denied=LONG, allowed=f"{LONG}a {LONG[:-1]}"),
    case(
        "many-stars-no-match", deny("/" + 200 * "*a" + "b$"), allowed="/" + 4_000 * "a", denied="/" + 4_000 * "a" + "b"
    ),
    case(
        "many-stars-of-pairs",
        deny("/" + 300 * "*ab" + "*c"),
        allowed="/" + 2_000 * "ab",
        denied="/" + 2_000 * "ab" + "c",
    ),
    case(
        "many-rules-with-stars",
        for_all(*(f"Disallow: /*a*aa*aaa*{number}*b" for number in range(10_000))),
        allowed="/" + 8_000 * "a" + "b",
        denied="/" + 8_000 * "a" + "9999b",
    ),
    case("only-stars", deny("/" + 5_000 * "*" + "z$"), allowed="/" + 4_000 * "a", denied="/" + 4_000 * "a" + "z"),
]


def _up_to_the_limit(last: bytes) -> bytes:
    """Return LIMIT bytes, of which the last are a rule."""
    first, comment = b"User-agent: *\nDisallow: /first\n", b"# a comment of multi-octet characters: \xe3\x83\x84\n"
    count, rest = divmod(LIMIT - len(first) - len(last), len(comment))
    if rest < 2:
        count, rest = count - 1, rest + len(comment)
    return first + count * comment + b"#" * (rest - 1) + b"\n" + last


LIMITS = [
    case("the-last-rule-within-the-limit", _up_to_the_limit(b"Disallow: /last\n"), denied="/first /last", allowed="/b"),
    case(
        "more-after-the-limit",
        _up_to_the_limit(b"Disallow: /last\n") + 2_000_000 * b"#",
        denied="/first /last",
        allowed="/b",
    ),
]

OWN = [*AGENTS, *LINES, *PATHS, *ENCODINGS, *FILES, *LIMITS]
