"""Archives, and what is downloaded."""

import hashlib
import io
import shutil
import stat
import threading
import zipfile
from collections import namedtuple
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from recbole.data.dataset import kg_dataset
from recbole.data.dataset.dataset import Dataset

from recbole_midpg.atomic_data_scripts.download import download
from recbole_midpg.common.errors import UsageError
from recbole_midpg.integration.dataset.dataset_download import unpack
from tests.security.attacks import tree
from tests.support.recbole_data import DATA

LEAVING = ["../outside/x", "/outside/x", "a/../../outside/x", "..\\outside\\x", "c:\\x", "c:x"]


def archive_of(members, links=()):
    """A zip archive of texts by name; of ``links`` the text is where they lead."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, text in members.items():
            info = zipfile.ZipInfo(name)
            info.filename = name  # the constructor ends it at a zero byte, and mends separators
            if name in links:
                info.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(info, text)
    return content.getvalue()


@pytest.mark.parametrize("name", LEAVING)
def test_members_of_a_raw_file_stay_inside(attacked, name):
    Path("raw.zip").write_bytes(archive_of({name: "x", "df_electronics.csv": "x"}))
    attacked.refused("leaves the folder", "prepare", "amazon_electronics", "--raw=raw.zip")


def test_links_in_a_raw_file_are_refused(attacked):
    Path("raw.zip").write_bytes(archive_of({"df_electronics.csv": "/etc/passwd"},
                                           links=["df_electronics.csv"]))  # fmt: skip
    attacked.refused("is a link", "prepare", "amazon_electronics", "--raw=raw.zip")


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.server.sends_to:
            self.send_response(302)
            self.send_header("Location", self.server.sends_to)
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.server.content)))
        self.end_headers()
        self.wfile.write(self.server.content)

    def log_message(self, *args):
        """Keep the test's output clean."""


@pytest.fixture
def server(attacked, monkeypatch):
    """Serves one archive, which RecBole takes for the dataset ``adult``."""
    with HTTPServer(("127.0.0.1", 0), _Handler) as running:
        running.content, running.sends_to = b"", None
        running.url = f"http://127.0.0.1:{running.server_port}/other-name.zip"
        monkeypatch.setattr(Dataset, "_get_download_url", lambda *_, **__: running.url)
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


WORDS = ("--model=DNN", "--dataset=adult", "--config_files=gaps.yaml", "--data_path=dataset",
         "--metrics=[LogLoss]", "--valid_metric=LogLoss")  # fmt: skip


def files_of_gaps():
    return {f"other-name{path.suffix}": path.read_text() for path in (DATA / "gaps").iterdir()}


def test_a_download_is_told_with_its_checksum(attacked, server, caplog):
    server.content = archive_of(files_of_gaps())
    status, error = attacked.run("run_recbole", *WORDS)
    assert status == 0, error
    assert hashlib.sha256(server.content).hexdigest() in caplog.text
    assert "nobody has checked" in caplog.text
    names = sorted(path.name for path in Path("dataset").iterdir())
    assert names == ["adult"]
    assert sorted(path.name for path in Path("dataset/adult").iterdir()) == [
        *("adult.inter", "adult.item", "adult.user")
    ]


@pytest.mark.parametrize("name", LEAVING)
def test_members_of_a_download_stay_inside(attacked, server, name):
    server.content = archive_of({**files_of_gaps(), name: "x"})
    attacked.refused("leaves the folder", "run_recbole", *WORDS)
    assert not Path("dataset/adult").exists()


def test_links_in_a_download_are_refused(attacked, server):
    server.content = archive_of({"other-name.inter": "../../outside/victim.pth"},
                                links=["other-name.inter"])  # fmt: skip
    attacked.refused("is a link", "run_recbole", *WORDS)
    assert not Path("dataset/adult").exists()


@pytest.mark.parametrize("content", [b"", b"no archive", archive_of(files_of_gaps())[:200]])
def test_a_download_that_is_no_archive(attacked, server, content):
    server.content = content
    attacked.refused("the archive is damaged", "run_recbole", *WORDS)
    assert not Path("dataset/adult").exists()


def test_a_download_that_unpacks_to_more_than_is_free(attacked, server, monkeypatch):
    server.content = archive_of({"other-name.inter": "0" * 10_000})
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(9_999))
    attacked.refused("unpacks to 10,000 bytes", "run_recbole", *WORDS)
    assert not Path("dataset/adult").exists()


@pytest.mark.parametrize("address", ["http://example.org/x", "ftp://example.org/x"])
def test_a_server_sends_nobody_to_an_address_that_is_not_https(attacked, server, address):
    server.sends_to = address
    with pytest.raises(UsageError, match="is not an https address"):
        download(server.url, "raw/file")
    attacked.nothing_happened()
    assert tree(Path("raw")) == {}


def test_recbole_s_own_addresses_are_https(attacked, no_network, monkeypatch):
    attacked.refused("there is no network", "run_recbole", *WORDS)
    assert all(str(address).startswith("https://") for address in no_network) and no_network


def test_a_knowledge_graph_comes_by_the_same_way(attacked, server):
    assert kg_dataset.extract_zip is unpack
    server.content = archive_of({"../x": "x"})
    Path("kg").mkdir()
    path = kg_dataset.download_url(server.url, "kg")
    with pytest.raises(UsageError, match="leaves the folder"):
        kg_dataset.extract_zip(path, "kg")
    attacked.nothing_happened()
