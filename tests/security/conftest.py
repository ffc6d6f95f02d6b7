"""A folder to work in, one beside it that nothing may touch, and commands run in this process."""

import urllib.request

import pytest
import yaml

from recbole_midpg.cli import main, run_recbole_command
from tests.prediction.test_files import HEADER, ROWS
from tests.security.attacks import tree
from tests.support.recbole_data import GAPS


class Attacked:
    """The user's folder, the working one, and what lies outside of it."""

    def __init__(self, folder, outside, capsys):
        self.folder, self.outside, self._capsys = folder, outside, capsys
        self._before = tree(outside)

    def run(self, command, *words):
        """Run ``run_recbole`` or a command of ``recbole-midpg``; its status and what it told."""
        words = [str(word) for word in words]
        if command == "run_recbole":
            status = run_recbole_command(words)
        else:
            try:
                status = main([command, *words])
            except SystemExit as end:  # argparse's own
                status = end.code
        self.nothing_happened()
        return status, self._capsys.readouterr().err

    def refused(self, told, command, *words):
        """Run a command that must end in a sentence that holds some words."""
        before = tree(self.folder)
        status, error = self.run(command, *words)
        assert (status, told in error) == (2, True), error
        assert "Traceback" not in error
        after = tree(self.folder)
        assert {name: after.get(name) for name in before} == before
        return error

    def nothing_happened(self):
        assert not (self.folder / "ran").exists()
        assert tree(self.outside) == self._before


@pytest.fixture
def attacked(tmp_path, monkeypatch, capsys):
    folder, outside = tmp_path / "inside", tmp_path / "outside"
    for path in (folder, outside):
        path.mkdir()
    (outside / "victim.pth").write_bytes(b"mine")
    (outside / "film.part").write_bytes(b"half of it")
    monkeypatch.chdir(folder)
    (folder / "gaps.yaml").write_text(yaml.safe_dump({**GAPS, "threshold": {"rating": 3}}))
    (folder / "new.csv").write_text(HEADER + "\n".join(ROWS))
    return Attacked(folder, outside, capsys)


@pytest.fixture
def no_network(monkeypatch):
    """The addresses that were asked for; every one is refused."""
    asked = []

    def refuse(request, *_args, **_kwargs):
        asked.append(request)
        raise OSError("there is no network in this test")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    monkeypatch.setattr(urllib.request.OpenerDirector, "open", lambda _, *words: refuse(*words))
    return asked


@pytest.fixture
def gaps():
    """What a command of ``run_recbole`` takes to train on the small dataset of the tests."""
    return ("--dataset=gaps", "--config_files=gaps.yaml")
