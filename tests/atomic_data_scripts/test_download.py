"""Downloads against a server on this machine that cuts, refuses and changes its mind."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from recbole_midpg.atomic_data_scripts.download import download
from recbole_midpg.common.errors import UsageError

CONTENT = bytes(range(256)) * 5000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves one file; ``cut_after`` bytes of each answer are sent, the first ``cuts`` times."""

    content, version, cuts, cut_after, ranges_served = CONTENT, '"1"', 0, 0, True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[str | None] = []
        self.url = f"http://127.0.0.1:{self.server_port}/file.csv"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        asked = self.headers.get("Range")
        server.requests.append(asked)
        if self.path != "/file.csv":
            self.send_error(404)
            return
        start = 0
        if asked and server.ranges_served and self.headers["If-Range"] == server.version:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
        if start and start >= len(server.content):
            self.send_error(416)
            return
        body = server.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", server.version)
        self.end_headers()
        if server.cuts > 0:
            server.cuts -= 1
            body = body[: server.cut_after]
        self.wfile.write(body)

    def log_message(self, *args):
        """Keep the test's output clean."""


@pytest.fixture
def server():
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield running
        running.shutdown()


@pytest.fixture
def target(tmp_path):
    return tmp_path / "raw" / "file.csv"


def names(target):
    return sorted(path.name for path in target.parent.iterdir())


def test_a_whole_file_is_fetched_and_checked(server, target):
    assert download(server.url, target, size=len(CONTENT), sha256=SHA256) == target
    assert target.read_bytes() == CONTENT
    assert names(target) == ["file.csv"]
    download(server.url, target)
    assert len(server.requests) == 1


def test_a_cut_is_resumed_in_the_same_call(server, target):
    server.cuts, server.cut_after = 2, 100_000
    download(server.url, target, sha256=SHA256)
    assert server.requests == [None, "bytes=100000-", "bytes=200000-"]
    assert names(target) == ["file.csv"]


def test_a_file_cut_again_and_again_is_resumed_by_the_next_call(server, target):
    server.cuts, server.cut_after = 3, 1000
    with pytest.raises(UsageError, match=r"cut 3 times .*file\.csv\.part"):
        download(server.url, target)
    assert not target.exists()
    download(server.url, target, sha256=SHA256)
    assert server.requests[-1] == "bytes=3000-"


def test_another_version_on_the_server_begins_anew(server, target):
    server.cuts, server.cut_after = 3, 1000
    with pytest.raises(UsageError):
        download(server.url, target)
    server.content, server.version = CONTENT[::-1], '"2"'
    download(server.url, target)
    assert target.read_bytes() == CONTENT[::-1]


def test_a_server_without_ranges_begins_anew(server, target):
    server.cuts, server.cut_after, server.ranges_served = 1, 1000, False
    download(server.url, target, sha256=SHA256)
    assert target.read_bytes() == CONTENT


def test_a_part_that_is_longer_than_the_file_begins_anew(server, target):
    target.parent.mkdir()
    target.with_name("file.csv.part").write_bytes(CONTENT + b"more")
    target.with_name("file.csv.part.version").write_text(server.version)
    download(server.url, target, sha256=SHA256)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("expected", "words"),
    [({"size": 17}, "1,280,000 bytes came, expected 17"), ({"sha256": "00"}, "expected 00")],
)
def test_a_wrong_file_is_removed(server, target, expected, words):
    with pytest.raises(UsageError, match=words):
        download(server.url, target, **expected)
    assert names(target) == []


def test_what_the_server_refuses_is_told(server, target):
    with pytest.raises(UsageError, match="answered 404"):
        download(server.url.replace("file.csv", "none.csv"), target)
    assert len(server.requests) == 1
    server.server_close()
    with pytest.raises(UsageError, match="cut 3 times"):
        download(server.url.replace(str(server.server_port), "9"), target)


@pytest.mark.parametrize("url", ["http://example.org/x", "ftp://127.0.0.1/x", "file:///etc/hosts"])
def test_only_https_is_fetched(url, target):
    with pytest.raises(UsageError, match="not an https address"):
        download(url, target)
