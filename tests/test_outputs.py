from __future__ import annotations

from pathlib import Path

import pytest

from crawler.errors import UsageError
from crawler.outputs import MAX_PREFIX, Output, check_endpoint, parse_output


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("s3://bucket", "s3://bucket"),
        ("S3://bucket/", "s3://bucket"),
        ("s3://bucket/a/b c%20/", "s3://bucket/a/b c%20"),
        ("gs://a-bucket.example/p", "gs://a-bucket.example/p"),
        ("az://container/p/q", "az://container/p/q"),
        ("az://$web", "az://$web"),
    ],
)
def test_places_in_object_stores(text: str, whole: str) -> None:
    output = parse_output(text)
    assert output.directory is None and str(output) == whole
    assert parse_output(str(output)) == output


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("/srv/a", "/srv/a"),
        ("file:///srv/a%20b", "/srv/a b"),
        ("FILE://localhost/srv", "/srv"),
        ("/a/s3:/b", "/a/s3:/b"),
    ],
)
def test_directories(text: str, path: str) -> None:
    assert parse_output(text) == Output(Path(path))
    assert str(parse_output(text)) == path


def test_a_directory_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse_output("out").directory == tmp_path / "out"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("s3://", "is no bucket"),
        ("s3:///prefix", "is no bucket"),
        ("s3://-b/p", "is no bucket"),
        ("s3://b:9000/p", "is no bucket"),
        ("s3://b?region=x", "is no bucket"),
        ("s3://b/p?region=x", "cannot be"),
        ("s3://b/p#x", "cannot be"),
        ("s3://b/a//b", "cannot be"),
        ("s3://b/a/../b", "cannot be"),
        ("s3://b/a/./b", "cannot be"),
        ("s3://b/a\nb", "cannot be"),
        ("s3://b/" + "ä" * MAX_PREFIX, "longer than"),
        ("http://host/x", "http:// is not known.*s3://BUCKET/PREFIX"),
        ("ftp://host/x", "ftp:// is not known"),
        ("file://host/x", "names no directory"),
        ("file:///x?y", "names no directory"),
    ],
)
def test_what_is_none(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=rf"(?s)--output: .*{message}"):
        parse_output(text)


def test_credentials_in_a_url_are_refused_and_not_told() -> None:
    with pytest.raises(UsageError, match="environment") as caught:
        parse_output("s3://AKIA:secret@bucket/p")
    assert "secret" not in str(caught.value) and "AKIA" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["http://127.0.0.1:9000", "https://s3.example", "https://s3.example/path", "http://[::1]:9"]
)
def test_endpoints(text: str) -> None:
    check_endpoint(text)


@pytest.mark.parametrize(
    "text",
    ["127.0.0.1:9000", "s3://b", "http://", "http://a:b@c", "http://a:0", "http://a:x", "http://a?b", "http://[x"],
)
def test_what_is_no_endpoint(text: str) -> None:
    with pytest.raises(UsageError, match="--store-endpoint"):
        check_endpoint(text)
