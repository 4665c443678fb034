"""What strangers write to make a program connect where it should not; `{port}` is that of a canary."""

from __future__ import annotations

#: All of these mean this machine to a browser, to the system's resolver or to a careless parser.
LOOPBACK = [
    "http://127.0.0.1:{port}/",
    "https://127.0.0.1:{port}/",
    "HtTp://127.0.0.1:{port}/",
    "http://127.0.0.1.:{port}/",
    "http://0177.0.0.1:{port}/",
    "http://017700000001:{port}/",
    "http://2130706433:{port}/",
    "http://0x7f.1:{port}/",
    "http://0x7F000001:{port}/",
    "http://127.1:{port}/",
    "http://0:{port}/",
    "http://0.0.0.0:{port}/",
    "http://\uff11\uff12\uff17.\uff10.\uff10.\uff11:{port}/",
    "http://127\u30020\u30020\u30021:{port}/",
    "http://\u2460\u2461\u2466.0.0.1:{port}/",
    "http://%31%32%37.0.0.1:{port}/",
    "http://[::ffff:127.0.0.1]:{port}/",
    "http://[::ffff:7f00:1]:{port}/",
    "http://[::1]:{port}/",
    "http://[0000:0:0::0001]:{port}/",
    "http://localhost:{port}/",
    "http://LOCALHOST:{port}/",
    "http://public.invalid@127.0.0.1:{port}/",
    "http://public.invalid:80@127.0.0.1:{port}/",
    "http://a:b@public.invalid@127.0.0.1:{port}/",
    "http://public.invalid%2f@127.0.0.1:{port}/",
    "http://127.0.0.1:{port}\\@public.invalid/",
    "http://127.0.0.1:{port}#@public.invalid/",
    "http://127.0.0.1:{port}?@public.invalid/",
    "http://127.0.0.1\t:{port}/",
    "http://12\t7.0.0.1:{port}/",
    " \thttp://127.0.0.1:{port}/ ",
    "http:\\\\127.0.0.1:{port}\\",
    "//127.0.0.1:{port}/",
    "\\\\127.0.0.1:{port}/",
    "/\\127.0.0.1:{port}/",
    "/\t/127.0.0.1:{port}/",
]
#: No machine is needed behind these: they are refused before anything is sent.
CLOSED = [
    "http://[64:ff9b::a9fe:a9fe]:{port}/",
    "http://[64:ff9b::7f00:1]:{port}/",
    "http://[64:ff9b:1::7f00:1]:{port}/",
    "http://[2002:7f00:1::]:{port}/",
    "http://[2001::7f00:1]:{port}/",
    "http://[::127.0.0.1]:{port}/",
    "http://[::]:{port}/",
    "http://[fe80::1]:{port}/",
    "http://[fec0::1]:{port}/",
    "http://[fd00:ec2::254]:{port}/",
    "http://169.254.169.254/latest/meta-data/",
    "http://168.63.129.16:{port}/",
    "http://100.100.100.200:{port}/",
    "http://10.0.0.1:{port}/",
    "http://192.0.0.192:{port}/",
    "http://192.168.0.1:{port}/",
]
#: These are no http URL, or name a host that is not there.
NOWHERE = [
    "file:///etc/passwd",
    "file://127.0.0.1:{port}/",
    "gopher://127.0.0.1:{port}/_GET",
    "ftp://127.0.0.1:{port}/a.jpg",
    "dict://127.0.0.1:{port}/",
    "data:image/png;base64,AAAA",
    "javascript:fetch('http://127.0.0.1:{port}/')",
    "view-source:http://127.0.0.1:{port}/",
    "http://[fe80::1%25lo]:{port}/",
    "http://127.0.0.1:{port}:{port}/",
    "http://127.0.0.1 :{port}/",
    "http://[127.0.0.1]:{port}/",
    "http://[::1:{port}/",
    "http://127.0.0.1:{port}%2f@public.invalid/",
    "http://127.0.0.1%00.public.invalid:{port}/",
]
ALL = LOOPBACK + CLOSED + NOWHERE


def at(port: int, texts: list[str] = ALL) -> list[str]:
    return [text.replace("{port}", str(port)) for text in texts]
