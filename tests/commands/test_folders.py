"""Files that are given as folders of outputs, told before anything is read or written."""

import pytest

from tests.support.typed import midpg


@pytest.mark.parametrize(
    "words",
    [
        ["benchmark", "--models=DNN"],
        ["tune", "--models=DNN"],
        ["generate", "teacher_dnn_synth"],
        ["prepare", "shop", "--csv", "log.csv", "--label=l", "--user=u", "--item=i"],
        ["prepare", "iaac", "--raw", "log.csv"],
        ["daily", "--checkpoint=c.pth", "--days", "log.csv"],
        ["analyze", "gains", "--table=t.json"],
        ["analyze", "curves", "--runs=r.json"],
        ["analyze", "matrices", "--checkpoint=c.pth"],
        ["analyze", "sweep", "--dataset=ml-100k"],
        ["analyze", "sizes", "--dataset=teacher_dnn_synth", "--rows=5000"],
    ],
)
@pytest.mark.parametrize("output", ["log.csv", "log.csv/folder"])
def test_a_file_is_no_folder_of_outputs(words, output, tmp_path):
    (tmp_path / "log.csv").write_text("a,b\n")
    result = midpg(*words, "--output", output, cwd=tmp_path)
    assert result.returncode == 2
    told = "recbole-midpg: error: --output: 'log.csv' is a file, expected a folder.\n"
    assert result.stderr.endswith(told)
    assert (tmp_path / "log.csv").read_text() == "a,b\n"


def test_a_config_file_is_not_replaced_by_what_a_search_finds(tmp_path):
    chosen = tmp_path / "tuning" / "DNN-ml-100k.yaml"
    chosen.parent.mkdir()
    chosen.write_text("epochs: 1\n")
    words = ["tune", "--models=DNN", "--dataset=ml-100k", "--config_files", chosen]
    result = midpg(*words, cwd=tmp_path)
    assert result.returncode == 2
    assert "DNN-ml-100k.yaml': it is one of --config_files, expected another" in result.stderr
    assert [path.name for path in chosen.parent.iterdir()] == [chosen.name]
