"""Each generated dataset once, small."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from recbole_midpg.atomic_data_scripts import ConversionReport
from recbole_midpg.generated import GENERATED, generate

ROWS = 20_000


@dataclass(frozen=True)
class Generated:
    name: str
    folder: Path
    report: ConversionReport

    @property
    def output(self) -> Path:
        return self.folder.parent

    @property
    def raw(self) -> Path:
        return self.folder / "raw" / GENERATED[self.name].converter.raw_name


def _made(name, factory):
    output = factory.mktemp("dataset")
    return Generated(name, output / name, generate(name, output, ROWS))


@pytest.fixture(scope="session")
def amazon(tmp_path_factory):
    return _made("amazon_electronics_synth", tmp_path_factory)


@pytest.fixture(scope="session")
def iaac(tmp_path_factory):
    return _made("iaac_synth", tmp_path_factory)


@pytest.fixture(scope="session")
def advertising(tmp_path_factory):
    return _made("advertising_synth", tmp_path_factory)


@pytest.fixture(scope="session")
def teacher(tmp_path_factory):
    return _made("teacher_dpg_synth", tmp_path_factory)


@pytest.fixture(params=["advertising", "amazon", "iaac", "teacher"])
def any_set(request):
    """A set of each family."""
    return request.getfixturevalue(request.param)
