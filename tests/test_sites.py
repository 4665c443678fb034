"""What a file of sites may say."""

from __future__ import annotations

from pathlib import Path

import pytest

from crawler.access import USER_AGENT
from crawler.building import build_spec
from crawler.errors import UsageError
from crawler.settings import CollectSettings, CrawlSettings
from crawler.sites import named_sites, needs_one_broker
from crawler.spec import Spec


@pytest.fixture
def written(tmp_path: Path) -> Path:
    return tmp_path / "many.toml"


def spec(path: Path, *sites: str, **settings: object) -> Spec:
    return build_spec(CrawlSettings(sites=sites, sites_file=path, state=path.parent, **settings))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[site]]\n", "site 1: its url is missing"),
        ('[[site]]\nurl = "a.example"\n[[site]]\nurl = "b.example"\ndepht = 1', "site 2: unknown key 'depht'; allowed"),
        ('[[site]]\nurl = "a.example"\ndepth = "deep"', "site 1: depth: 'deep' is no whole number"),
        ('[[site]]\nurl = "a.example"\ndepth = -1', "site 1: depth must be at least 0"),
        ('[[site]]\nurl = "a.example"\nmax_time = "soon"', "site 1: max_time: 'soon' is no time"),
        ('[[site]]\nurl = "a.example"\ninclude = ["("]', "site 1: include and exclude take regular expressions"),
        ('[[site]]\nurl = "a.example"\nuser_agent = "a\\nb"', "site 1: user_agent: it has characters"),
        ('[[site]]\nurl = "a.example"\nscope = "all"', "site 1: scope: 'all' is none of host, domain"),
        ('[[site]]\nurl = "a.example"\ncookies = "none.txt"', "a.example: cookies"),
        ('[[site]]\nurl = "a.example"\nheader = ["secret 7"]', "a.example: header …: write 'Name: value'"),
        ('[[site]]\nurl = "ftp://a.example"', "is no site"),
        ('site = "a.example"', r"write each site as a table \[\[site\]\]"),
        ("depth = 1", r"write each site as a table \[\[site\]\]"),
        ("[[site", "is no TOML"),
        ('[[site]]\nurl = "http://a.example"\n[[site]]\nurl = "https://a.example"', "2 sites are called 'a.example'"),
    ],
)
def test_what_is_wrong_is_named(written: Path, text: str, said: str) -> None:
    written.write_text(text)
    with pytest.raises(UsageError, match=said) as refused:
        spec(written)
    assert "secret" not in str(refused.value)


def test_a_job_is_called_like_its_file(written: Path) -> None:
    written.write_text('[[site]]\nurl = "a.example"\n[[site]]\nurl = "b.example"\nname = "b"\n')
    made = spec(written)
    assert made.job == "many" and [detail.name for _, detail in made.sources] == ["a.example", "b"]
    assert made.sites == ()


def test_a_site_of_a_flag_has_the_settings_of_the_file(written: Path) -> None:
    written.write_text('[[site]]\nurl = "a.example"\ndepth = 2\n')
    made = spec(written, "me:pw@a.example", depth=5)
    assert made.of_site("a.example").depth == 2 and made.depth == 5 == made.of_site("other").depth
    assert made.access.headers[0][:2] == ("https://a.example", "Authorization")


def test_what_holds_for_hosts(written: Path) -> None:
    written.write_text(
        '[[site]]\nurl = "https://www.a.example"\ndelay = 2\nuser_agent = "me/1"\ntls_verify = false\n'
        '[[site]]\nurl = "https://a.example/b"\ndelay = "3s"\n'
    )
    made = spec(written)
    assert made.delays == (("a.example", 3.0),), "the longer one of two for one host"
    assert made.access.headers == (("https://www.a.example", USER_AGENT, "me/1"),)
    assert made.access.unverified == ("a.example",)


@pytest.mark.parametrize("text", ["b", "b.example", "https://b.example/"])
def test_one_may_be_chosen_by_name_or_url(written: Path, text: str) -> None:
    written.write_text('[[site]]\nurl = "a.example"\n[[site]]\nurl = "b.example"\nname = "b"\n')
    assert spec(written, only=(text,)).only == ("b",)
    with pytest.raises(UsageError, match=r"--only 'c': no site of this job is called so; there are a\.example, b"):
        spec(written, only=("c",))


def test_what_a_redis_does_not_keep(written: Path) -> None:
    for setting, what in (("delay = 1", "delay"), ("max_time = 9", "max_time"), ("max_images = 9", "max_time")):
        written.write_text(f'[[site]]\nurl = "a.example"\n{setting}\n')
        assert what in needs_one_broker(spec(written))
    written.write_text('[[site]]\nurl = "a.example"\ndepth = 2\n')
    assert needs_one_broker(spec(written)) == ""
    assert needs_one_broker(spec(written, only=("a.example",))) == "--only"


def test_the_collector_takes_the_file_too(written: Path) -> None:
    written.write_text('[[site]]\nurl = "a.example"\n')
    assert [site.url for site in named_sites(CollectSettings(sites_file=written))] == ["https://a.example/"]
