"""Documents as long as they may be, made to cost time or memory: each is read by a process with little of both."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

#: Seconds of CPU and megabytes; nothing takes more than 3 s where the machine is at rest.
SECONDS, MEGABYTES = 10, 300
CHILD = """
    import gzip, resource, sys
    sys.path[:0] = {path!r}
    from crawler.pages.extract import read
    M, S = 20 * 2**20, 50 * 2**20  # of a page, of a sitemap
    body = ({body})[: S if {sort!r} == "sitemap" else M]
    used = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    resource.setrlimit(resource.RLIMIT_CPU, (int(used) + {seconds},) * 2)
    try:
        read(body, {{"content-type": {kind!r}}}, "https://a.example/x", {sort!r})
    except ValueError as error:
        print(error)
    print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""
DEEP = 'b"<div>" * 3_000 + '
LOLS = '"".join(f\'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">\' for n in range(1, 10)).encode()'
DOCUMENTS = {
    "page": {
        "elements": 'b"x<br>" * (M // 5)',
        "attributes": '(b"<p " + b" ".join(b"a%d=1" % n for n in range(490)) + b">") * (M // 3_000)',
        "flood of attributes": 'b"<p " + (b" ".join(b"a%d" % n for n in range(60_000)) + b" ") * 50 + b">"',
        "attributes without room": "b\"<p \" + b\"a=''b=''c=''\" * (M // 15) + b\">\"",
        "comments": 'b"<!>" * (M // 3)',
        "end tags": 'b"<div>" * 2_000 + b"</p>" * (M // 4)',
        "end tags of something": 'b"<p>" * (M // 8) + b"<div>" * 2_000 + b"</p>" * (M // 8)',
        "end tags far below": DEEP + 'b"</p>" * (M // 4)',
        "nesting": 'b"<b><div>" * (M // 16) + b"</b>" * (M // 8)',
        "comments without end": DEEP + 'b"<!--" * (M // 4) + b">"',
        "sections without end": DEEP + 'b"<![CDATA[" * (M // 9) + b">"',
        "a section of no kind": DEEP + 'b"<![foo[x" + b">"',
        "images": 'b"<img src=a>" * (M // 11)',
        "pictures with sources": 'b"<picture>" * 500 + b"<source><img src=a>" * (M // 19)',
        "pictures within pictures": 'b"<picture><img src=a>" * 500 + b"<source>" * (M // 8)',
        "figures within figures": 'b"<figure><img src=a>" * 500 + b"<p>" * (M // 3)',
        "links around links": '(b"<a href=a.jpg><table>" * 400 + b"</table></a>" * 400) * (M // 13_200)',
        "srcset": "b'<img srcset=\"' + b'a 1q, ' * (M // 6) + b'\">'",
        "parentheses in srcset": "b'<img srcset=\"a (' + b'(' * M + b'\">'",
        "data": 'b"<img src=data:image/png;base64," + b"A" * M + b">"',
        "data in a style": "b'<p style=\"a:url(data:image/png;base64,' + b'A' * M + b')\">'",
        "escapes in a style": "b'<style>a{b:url(x)} \"' + b'\\\\a' * (M // 2) + b'</style>'",
        "escapes in a style's URL": "b'<style>a{b:url(' + b'\\\\a' * (M // 2) + b'</style>'",
        "a comment in a style": "b'<style>a{b:url(x)} /*' + b'*' * M + b'</style>'",
        "URLs in a style": "b'<style>' + b'url(a)' * (M // 6) + b'</style>'",
        "strings in a style": "b'<style>url(x)' + b'\"\\n' * (M // 2) + b'</style>'",
        "lists in JSON": "b'<script type=application/json>[' + b'[],' * (M // 3) + b'[]]</script>'",
        "objects in JSON": "b'<script type=application/ld+json>[' + b'{\"image\":\"a\"},' * (M // 14) + b'0]</script>'",
        "depth in JSON": "b'<script type=application/json>' + b'[' * 199_999 + b'</script>'",
        "a number in JSON": "b'<script type=application/json>[' + b'9' * M + b']</script>'",
    },
    "feed": {
        "laughs": f"b'<!DOCTYPE rss [<!ENTITY a0 \"ha\">' + {LOLS} + b']><rss><link href=\"&a9;\">&a9;</link></rss>'",
        "long entity": "b'<!DOCTYPE r [<!ENTITY b \"' + b'x' * 99_999 + b'\">]><rss>' + b'<a href=\"&b;\"/>' * 20_000",
        "parameter": "b'<!DOCTYPE rss [<!ENTITY % a SYSTEM \"file:///etc/passwd\"> %a;]><rss><title>x</title></rss>'",
        "long default": "b'<!DOCTYPE rss [<!ATTLIST a x CDATA \"' + b'x' * 10**6 + b'\">]><rss>' + b'<a/>' * 20_000",
        "elements": "b'<rss>' + b'<a/>' * (M // 4)",
        "attributes": "b'<rss>' + (b'<a ' + b' '.join(b'a%d=\"\"' % n for n in range(9_999)) + b'/>') * 150",
        "namespaces": "b'<rss>' + b'<a xmlns=\"x\" xmlns:b=\"c\"/>' * (M // 28)",
    },
    "sitemap": {
        "small files": "gzip.compress(b'<urlset>') + gzip.compress(b'x') * (S // 21)",
        "entries": "b'<urlset>' + b'<url/>' * (S // 6)",
        "parts of an entry": "b'<urlset><url>' + b'<a/>' * (S // 4)",
        "lines": "b'http://a/\\n' * (S // 10)",
    },
    "manifest": {"objects": 'b\'{"@context":"iiif.io/api/presentation","items":[\' + b\'{"items":[]},\' * (M // 13)'},
    "sheet": {"imports": "b'@import \"a\";' * (M // 12)"},
}


@pytest.mark.parametrize(
    ("sort", "body"),
    [
        pytest.param(sort, body, id=f"{sort}-{name}")
        for sort, documents in DOCUMENTS.items()
        for name, body in documents.items()
    ],
)
def test_a_document_that_was_made_to_hurt(sort: str, body: str) -> None:
    kind = {"page": "text/html; charset=utf-8", "sheet": "text/css"}.get(sort, "")
    code = textwrap.dedent(CHILD).format(path=sys.path, body=body, sort=sort, kind=kind, seconds=SECONDS)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr or "it took too long"
    assert int(done.stdout.split()[-1]) < MEGABYTES * 1024, done.stdout
