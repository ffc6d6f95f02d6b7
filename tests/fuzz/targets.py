"""Every reader of what a user brings, as a function of a folder and drawn input.

Each lets :class:`UsageError` through as what it is, an answer; anything else is a finding.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from recbole.data import create_dataset

from recbole_midpg.atomic_data_scripts import prepare
from recbole_midpg.common.arguments import parse_value, split_arguments
from recbole_midpg.common.config_files import read_config_file
from recbole_midpg.common.errors import UsageError
from recbole_midpg.experiments.search_space import read_space
from recbole_midpg.integration.config.config import build_config
from recbole_midpg.integration.config.key_names import own_keys, recbole_keys
from recbole_midpg.integration.models.registry import own_models
from recbole_midpg.integration.run.checkpoint import load_checkpoint
from recbole_midpg.integration.run.run import Run
from recbole_midpg.models.base import ScenarioRecommender
from recbole_midpg.prediction.files import score_file
from recbole_midpg.prediction.scorer import Scorer
from tests.atomic_data_scripts.raw_files import GOLDEN_RAW
from tests.fuzz.damage import damaged
from tests.support.recbole_data import DATA, GAPS, gaps_config

Target = Callable[[Path, st.DataObject], None]

CONFIG_TEXT = (Path(__file__).parents[2] / "dataset_configs" / "iaac.yaml").read_bytes()
SPACE_TEXT = b"learning_rate loguniform -9,-1\n# text\nn choice [2,4]\nk quniform 1,5,1\n"
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 5),
    st.floats(),
    st.sampled_from(["auto", "job", "user_id", "nonsense", "", "__import__('os')", "1e3", "None"]),
    st.lists(st.sampled_from(["job", "user_id", 1, 0, None, 128]), max_size=3),
    st.dictionaries(st.sampled_from(["split", "inter", "job", "RS"]), st.integers(), max_size=2),
)
# Folders and processes are not this test's matter; a device is what the machine has.
_LEFT_ALONE = frozenset(
    [
        "data_path",
        "checkpoint_dir",
        "dataset_cache_dir",
        "dataset",
        "model",
        "nproc",
        "world_size",
        "ip",
        "port",
        "offset",
        "local_rank",
        "group_offset",
        "config_files",
        "use_gpu",
        "gpu_id",
        "url",
        "synthetic_rows",
        "seed",
        "epochs",
    ]
)


def command_line(_folder: Path, data: st.DataObject) -> None:
    """Words of a command."""
    words = data.draw(st.lists(st.one_of(st.text(max_size=12), st.just("--a=[1,"), st.just("--b"))))
    for text in split_arguments(words).values():
        parse_value(text)


def config_file(folder: Path, data: st.DataObject) -> None:
    """The text of a config file."""
    path = folder / "c.yaml"
    path.write_bytes(data.draw(damaged(CONFIG_TEXT)))
    read_config_file(path)


def search_space(folder: Path, data: st.DataObject) -> None:
    """The text of a search space."""
    path = folder / "s.hyper"
    path.write_bytes(data.draw(damaged(SPACE_TEXT)))
    read_space(path)


def config_values(_folder: Path, data: st.DataObject) -> None:
    """Values of known keys, and a model built of them where they are allowed."""
    model = data.draw(st.sampled_from(list(own_models())))
    ours = sorted(own_keys() - _LEFT_ALONE)
    keys = data.draw(st.lists(st.sampled_from(ours), max_size=3, unique=True))
    values = {key: data.draw(VALUES) for key in keys}
    config = build_config(model, "gaps", None, {**GAPS, **values})
    assert issubclass(config.model_class, ScenarioRecommender)


def recbole_values(_folder: Path, data: st.DataObject) -> None:
    """Values of RecBole's own keys."""
    keys = data.draw(st.lists(st.sampled_from(sorted(recbole_keys() - _LEFT_ALONE)), max_size=2))
    build_config("DNN", "gaps", None, {**GAPS, **{key: data.draw(VALUES) for key in keys}})


def atomic_files(folder: Path, data: st.DataObject) -> None:
    """Atomic files, read into a dataset."""
    shutil.copytree(DATA / "gaps", folder / "gaps", dirs_exist_ok=True)
    name = data.draw(st.sampled_from(["inter", "item", "user"]))
    path = folder / "gaps" / f"gaps.{name}"
    path.write_bytes(data.draw(damaged(path.read_bytes())))
    config = gaps_config("DNN", data_path=str(folder), dataset_cache=False)
    create_dataset(config)


def raw_files(folder: Path, data: st.DataObject) -> None:
    """Raw files, converted."""
    name = data.draw(st.sampled_from(sorted(GOLDEN_RAW)))
    good = GOLDEN_RAW[name].read_bytes()
    path = folder / GOLDEN_RAW[name].name
    path.write_bytes(data.draw(damaged(good)))
    prepare(name, str(path), str(folder / "dataset"))


class _Trained:
    """A checkpoint and a scorer, made once."""

    checkpoint: bytes = b""
    scorer: Any = None

    @classmethod
    def make(cls) -> None:
        if cls.scorer is None:
            run = Run.prepare(gaps_config("DNN", threshold={"rating": 3}))
            run.trainer._save_checkpoint(0, verbose=False)
            cls.checkpoint = Path(run.trainer.saved_model_file).read_bytes()
            cls.scorer = Scorer.read(run.trainer.saved_model_file)


def checkpoints(folder: Path, data: st.DataObject) -> None:
    """The bytes of a checkpoint: what is read is what was written."""
    _Trained.make()
    path = folder / "c.pth"
    content = data.draw(damaged(_Trained.checkpoint))
    path.write_bytes(content)
    load_checkpoint(path)


def rows_to_score(folder: Path, data: st.DataObject) -> None:
    """A file of new rows."""
    _Trained.make()
    names = list(_Trained.scorer.fields)
    good = (",".join(names) + "\n" + ",".join("1" for _ in names) + "\n") * 1
    path = folder / "new.csv"
    path.write_bytes(data.draw(damaged(good.encode())))
    score_file(_Trained.scorer, path, folder / "scores.csv", show_progress=False)


TARGETS: dict[str, Target] = {
    target.__name__: target
    for target in (
        command_line,
        config_file,
        search_space,
        config_values,
        recbole_values,
        atomic_files,
        raw_files,
        checkpoints,
        rows_to_score,
    )
}


def attempt(target: Target, folder: Path, data: st.DataObject) -> None:
    """Run a target as a command would: an answer in a sentence is fine."""
    sys.argv[1:] = []
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with suppress(UsageError):
        target(folder, data)
