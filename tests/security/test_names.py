"""Names that become paths, and names of the data that become text of another language."""

from pathlib import Path

import pytest

from recbole_midpg.common.errors import UsageError
from recbole_midpg.common.file_names import require_file_name
from recbole_midpg.experiments.table_files import _latex
from recbole_midpg.integration.config.config import build_config
from tests.security.attacks import NAMES

COMMANDS = [
    ("run_recbole", ["--model=DNN", "--dataset"]),
    ("run_recbole", ["--model=BPR", "--dataset"]),
    ("models", ["--dataset"]),
    ("tune", ["--dataset"]),
    ("benchmark", ["--dataset"]),
    ("analyze", ["sweep", "--output=o", "--dataset"]),
    ("analyze", ["matrices", "--output=o", "--dataset"]),
]


@pytest.mark.parametrize(("command", "words"), COMMANDS)
@pytest.mark.parametrize("name", ["../outside/x", "/proc/x", "a\0b"])
def test_a_dataset_is_a_name(attacked, command, words, name):
    told = attacked.refused(f"dataset: {name!r} is not allowed", command, *words, name)
    assert "expected a name without a folder" in told
    assert sorted(path.name for path in attacked.folder.iterdir()) == ["gaps.yaml", "new.csv"]


@pytest.mark.parametrize("name", [*NAMES, "", 5, None, ["x"]])
def test_what_is_no_name(name):
    with pytest.raises(UsageError, match=r"^place: .* is not allowed, expected a name") as error:
        require_file_name("place", name)
    assert "\n" not in str(error.value) and "\x1b" not in str(error.value)


@pytest.mark.parametrize("name", ["ml-100k", "a b", "Ελλάδα", "..x", "x.y"])
def test_what_is_a_name(name):
    assert require_file_name("place", name) == name


@pytest.mark.parametrize("name", ["../x", "os.system", "os", "__init__", "abstract_recommender"])
def test_a_model_is_one_of_those_there_are(attacked, name):
    attacked.refused("is not known", "run_recbole", f"--model={name}")


@pytest.mark.parametrize("command", ["prepare", "generate"])
def test_what_is_made_is_one_of_those_that_can_be(attacked, command):
    words = ["--raw=new.csv"] if command == "prepare" else []
    attacked.refused("is not a dataset that can be", command, "../outside/x", *words)


def test_folders_that_the_user_names_may_lie_anywhere(attacked, tmp_path):
    values = {"data_path": str(tmp_path), "checkpoint_dir": "../elsewhere"}
    config = build_config("BPR", "some", values=values)
    assert (config["data_path"], config["checkpoint_dir"]) == (
        str(tmp_path / "some"),
        "../elsewhere",
    )
    assert not Path("../elsewhere").exists()


def test_a_scenario_s_name_is_no_command_of_tex():
    name = r"\input{/etc/passwd} \immediate\write18{touch ran} $x$ ^~%&_#"
    (line,) = [line for line in _latex(["scenario", "DNN"], [[name, "0.5"]]).splitlines()
               if "passwd" in line]  # fmt: skip
    assert line.startswith(r"\textbackslash{}input\{/etc/passwd\} ")
    without_escapes = line.removesuffix(r"\\")
    for escape in (r"\textbackslash{}", r"\textasciitilde{}", r"\textasciicircum{}",
                   *(f"\\{character}" for character in "{}$%&_#")):  # fmt: skip
        without_escapes = without_escapes.replace(escape, "")
    assert not set("\\{}$%_#^~") & set(without_escapes)
    assert len(_latex(["a"], [["x\\\\\n\\end{tabular}"]]).splitlines()) == 7
