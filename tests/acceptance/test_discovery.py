"""What is found beside links: style sheets, sitemaps, feeds; what is left alone; and how one signs in."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from acceptance.here import Here, asked, page
from servers.faulty import FaultySite
from servers.pictures import png


@pytest.fixture
def site() -> Iterator[FaultySite]:
    with FaultySite() as made:
        for number, name in enumerate("abcdefgh"):
            made.add(f"/i/{name}.png", png(number))
        yield made


@pytest.fixture
def other() -> Iterator[FaultySite]:
    with FaultySite("127.0.0.2") as made:
        for number, name in enumerate("abcd"):
            made.add(f"/i/{name}.png", png(50 + number))
        yield made


def saved(here: Here) -> set[str]:
    return {url.partition("://")[2].partition("/")[2] for url in here.rows("metadata.jsonl")}


def test_style_sheets_and_what_they_import_each_once(here: Here, site: FaultySite, other: FaultySite) -> None:
    head = f'<link rel=stylesheet href="{other.url}/s.css"><link rel=stylesheet href=/gone.css>'
    for path in ("/", "/two"):
        site.add(path, head + page("/i/a.png", links=("/two",)), "text/html")
    other.add("/s.css", '@import "loop.css"; a { background: url(i/b.png) }', "text/css")
    other.add("/loop.css", f'@import "s.css"; a {{ background: url("{site.url}/i/c.png") }}', "text/css")
    code, _, errors = here.crawl(site.url)
    assert code == 0, errors
    assert saved(here) == {"i/a.png"} and not asked(other, "/")
    code, _, errors = here.crawl(site.url, "--css")
    assert code == 0 and "1 http_404" in errors
    assert saved(here) == {"i/a.png", "i/b.png", "i/c.png"}
    assert sorted(asked(other, "/")) == ["/i/b.png", "/loop.css", "/robots.txt", "/s.css"]
    row = here.rows("metadata.jsonl")[f"{other.url}/i/b.png"]
    assert row["mentions"][0]["page"] == f"{other.url}/s.css"


def test_sitemaps_that_robots_txt_names(here: Here, site: FaultySite, other: FaultySite) -> None:
    site.add("/", page("/i/a.png"), "text/html")
    site.add("/robots.txt", f"User-agent: *\nDisallow: /secret\nSitemap: {site.url}/index.xml\n", "text/plain")
    index = f"<sitemapindex><sitemap><loc>{site.url}/s.xml.gz</loc></sitemap></sitemapindex>"
    site.add("/index.xml", index, "application/xml")
    entries = f"""<urlset xmlns:image="http://www.google.com/schemas/sitemap-image/1.1">
    <url><loc>{site.url}/deep</loc><image:image><image:loc>/i/c.png</image:loc><image:caption>C</image:caption>
    </image:image></url><url><loc>{site.url}/secret</loc></url><url><loc>{other.url}/far</loc></url></urlset>"""
    site.add("/s.xml.gz", gzip.compress(entries.encode()), "application/gzip")
    site.add("/deep", page("/i/b.png"), "text/html")
    code, _, errors = here.crawl(site.url)
    assert code == 0 and "1 scope" in errors
    assert saved(here) == {"i/a.png", "i/b.png", "i/c.png"}
    assert "/secret" not in asked(site, "/") and "/sitemap.xml" not in asked(site, "/")
    mention = here.rows("metadata.jsonl")[f"{site.url}/i/c.png"]["mentions"][0]
    assert (mention["caption"], mention["page"]) == ("C", f"{site.url}/s.xml.gz")
    assert site.headers("/i/c.png")[0]["referer"] == f"{site.url}/deep"


def test_a_sitemap_where_sites_usually_have_it(here: Here, site: FaultySite) -> None:
    site.add("/", page("/i/a.png"), "text/html")
    code, _, errors = here.crawl(site.url)
    assert code == 0 and "/sitemap.xml" in asked(site, "/") and "1 read\n" in errors
    site.add("/sitemap.xml", f"{site.url}/b.html\n{site.url}/c.html\n", "text/plain")
    site.add("/b.html", page("/i/b.png"), "text/html")
    site.add("/c.html", page("/i/c.png"), "text/html")
    code, _, errors = here.crawl(site.url, "--depth", "1")
    assert code == 0 and saved(here) == {"i/a.png"}, errors
    code, _, errors = here.crawl(site.url, "--no-sitemaps")
    assert code == 0 and saved(here) == {"i/a.png"}, errors
    code, _, errors = here.crawl(site.url)
    assert code == 0 and saved(here) == {"i/a.png", "i/b.png", "i/c.png"}, errors


def test_a_sitemap_alone(here: Here, site: FaultySite) -> None:
    site.add("/maps/all.txt", f"{site.url}/b.html\n", "text/plain")
    site.add("/b.html", page("/i/b.png"), "text/html")
    code, _, errors = here.crawl("--sitemap", f"{site.url}/maps/all.txt")
    assert code == 0 and saved(here) == {"i/b.png"}, errors


def test_feeds(here: Here, site: FaultySite) -> None:
    site.add("/", '<link rel=alternate type="application/rss+xml" href=/feed>' + page("/i/a.png"), "text/html")
    feed = "<rss><channel><item><title>B</title><link>/b.html</link><enclosure url='/i/c.png' type='image/png'/></item>"
    site.add("/feed", feed + "</channel></rss>", "application/rss+xml")
    site.add("/b.html", page("/i/b.png"), "text/html")
    code, _, errors = here.crawl(site.url)
    assert code == 0 and saved(here) == {"i/a.png", "i/b.png", "i/c.png"}, errors


def test_what_is_to_be_left_alone(here: Here, site: FaultySite) -> None:
    links = ("/noai", "/nofollow", "/header", "/free")
    site.add("/", page("/i/a.png", "/i/e.png", "/i/f.png", links=links), "text/html")
    site.add("/noai", '<meta name=robots content="noai">' + page("/i/b.png", "/i/c.png"), "text/html")
    site.add("/free", page("/i/c.png"), "text/html")
    site.add("/nofollow", "<meta name=crawler content=nofollow>" + page("/i/d.png", links=("/hidden",)), "text/html")
    site.add("/header", page("/i/g.png"), "text/html", headers={"X-Robots-Tag": "noimageindex"})
    site.add("/i/e.png", png(4), headers={"X-Robots-Tag": "otherbot: nofollow, noindex"})
    site.add("/i/f.png", png(5), headers={"X-Robots-Tag": "noindex"})
    code, _, errors = here.crawl(site.url)
    assert code == 0, errors
    assert saved(here) == {"i/a.png", "i/c.png", "i/d.png", "i/e.png"}
    failures = here.rows("failures.jsonl")
    assert {url[-5:]: (row["outcome"], row["message"]) for url, row in failures.items()} == {
        "b.png": ("opted_out", "noai: noai"),
        "f.png": ("opted_out", "x-robots-tag: noindex"),
        "g.png": ("opted_out", "x-robots-tag: noimageindex"),
    }
    assert "1 nofollow" in errors and "/hidden" not in asked(site, "/")
    assert not {"/i/b.png", "/i/g.png"} & set(asked(site))
    code, _, errors = here.crawl(site.url, "--ignore", "noai", "--ignore", "x-robots-tag")
    assert code == 0 and saved(here) == {f"i/{name}.png" for name in "abcdefg"}, errors


def test_reservations_when_they_are_respected(here: Here, site: FaultySite) -> None:
    site.add("/", page("/i/a.png", "/i/b.png", "/i/c.png"), "text/html")
    site.add("/.well-known/tdmrep.json", '[{"location": "/i/a", "tdm-reservation": 1}]', "application/json")
    site.add("/i/b.png", png(1), headers={"tdm-reservation": "1"})
    code, _, errors = here.crawl(site.url, "--respect", "tdm")
    assert code == 0 and saved(here) == {"i/c.png"}, errors
    assert {row["message"] for row in here.rows("failures.jsonl").values()} == {
        "tdm: tdmrep.json",
        "tdm: tdm-reservation",
    }


def test_calendars_end(here: Here, site: FaultySite) -> None:
    for month in range(60):
        site.add(f"/cal?month={month}", page(links=(f"/cal?month={month + 1}",)), "text/html")
    site.add("/", page("/i/a.png", links=("/cal?month=0", "/a/b/a/b/a/b/a/b/")), "text/html")
    code, _, errors = here.crawl(site.url, "--max-alike", "20")
    assert code == 0 and "1 alike" in errors and "1 repeated_path" in errors
    assert f"20 pages are alike: {site.url}/cal?month=*" in errors and "--max-alike" in errors
    assert "/cal?month=19" in asked(site, "/cal") and "/cal?month=20" not in asked(site, "/cal")


def test_signing_in(here: Here, site: FaultySite, other: FaultySite, tmp_path: Path) -> None:
    site.add("/", page("/i/a.png", f"{other.url}/i/b.png", "/i/away.png", links=("/private",)), "text/html")
    site.redirect("/private", "/users/sign_in?next=/private")
    site.redirect("/i/away.png", f"{other.url}/i/c.png")
    cookies = tmp_path / "cookies.txt"
    cookies.write_text("# Netscape HTTP Cookie File\n127.0.0.1\tFALSE\t/\tFALSE\t0\tsid\tof-me\n")
    where = site.url.replace("http://", "http://ann:s3cret@")
    code, out, errors = here.crawl(where, "--cookies", str(cookies), "--header", "X-Key: k3y")
    assert code == 0 and "1 login_required" in errors
    assert not any(secret in out + errors for secret in ("s3cret", "of-me", "k3y"))
    for path in ("/", "/robots.txt", "/i/a.png", "/i/away.png"):
        (headers, *_) = site.headers(path)
        assert headers["authorization"] == "Basic YW5uOnMzY3JldA==", path
        assert headers["cookie"] == "sid=of-me" and headers["x-key"] == "k3y"
    for path in ("/robots.txt", "/i/b.png", "/i/c.png"):
        (headers, *_) = other.headers(path)
        assert not {"authorization", "cookie", "x-key"} & headers.keys(), path
    stored = "".join(path.read_text() for path in (here.output / "j").glob("*.jsonl"))
    assert "s3cret" not in stored and "of-me" not in stored


def test_a_site_that_wants_its_first_page_signed_in_for(here: Here, site: FaultySite) -> None:
    site.redirect("/", "https://login.example/start")
    code, _, errors = here.crawl(site.url)
    assert code == 1 and "its first page failed: login_required" in errors and "--cookies" in errors


def test_manifests_sheets_and_cut_characters_far_from_the_first_page(here: Here, site: FaultySite) -> None:
    site.add("/", page(links=("/1",)), "text/html")
    for number in range(1, 6):
        site.add(f"/{number}", page(links=(f"/{number + 1}",)), "text/html")
    head = '<link rel=stylesheet href="/s.css"><script type="application/ld+json">'
    head += '{"image": {"url": "/i/a.png", "name": "\\ud83d"}}'
    site.add("/6", head + "</script>" + page(links=("/iiif/b/manifest",)), "text/html")
    site.add("/s.css", '@import "t.css"', "text/css")
    site.add("/t.css", "a { background: url(/i/b.png) }", "text/css")
    body = {"type": "Image", "id": f"{site.url}/i/c.png"}
    canvas = {"type": "Canvas", "items": [{"items": [{"type": "Annotation", "body": body}]}]}
    manifest = {"@context": "http://iiif.io/api/presentation/3/context.json", "type": "Manifest", "items": [canvas]}
    site.add("/iiif/b/manifest", json.dumps(manifest), "application/json")
    code, _, errors = here.crawl(site.url, "--css")
    assert code == 0 and saved(here) == {"i/a.png", "i/b.png", "i/c.png"}, errors
    assert "starting it again" not in errors and "nested" not in errors


def test_cookies_of_a_site_come_back_to_it_alone(here: Here, site: FaultySite, other: FaultySite) -> None:
    site.add(
        "/",
        page("/i/a.png", links=("/in", f"{other.url}/far")),
        "text/html",
        headers={"Set-Cookie": "seen=1; Domain=127.0.0.1"},
    )
    site.add("/in", page(), "text/html")
    other.add("/far", page(), "text/html")
    code, _, errors = here.crawl(site.url, "--scope", "any", "--no-sitemaps")
    assert code == 0, errors
    assert site.headers("/in")[0]["cookie"] == "seen=1"
    assert "cookie" not in other.headers("/far")[0]
