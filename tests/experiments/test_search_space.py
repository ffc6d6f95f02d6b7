import pytest

from recbole_midpg.common.errors import UsageError
from recbole_midpg.experiments.search_space import Dimension, default_space, read_space


def test_every_kind_of_line(tmp_path):
    path = tmp_path / "a.hyper"
    path.write_text(
        "# a comment\n\nn choice [4, 8]\nweighting choice ['r','c']\n"
        "mlp_hidden_size choice [[128,64],[64]]\nbeta uniform 0,1\n"
        "learning_rate loguniform -8,-4\nk quniform 1,8,1\n"
    )
    assert read_space(path) == [
        Dimension("n", "choice", (4, 8)),
        Dimension("weighting", "choice", ("r", "c")),
        Dimension("mlp_hidden_size", "choice", ([128, 64], [64])),
        Dimension("beta", "uniform", (0.0, 1.0)),
        Dimension("learning_rate", "loguniform", (-8.0, -4.0)),
        Dimension("k", "quniform", (1.0, 8.0, 1.0)),
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("n choice", "line 1: expected three words"),
        ("\nn choise [1]", "line 2: 'choise' .* did you mean 'choice'"),
        ("n choice 8", "'8' is not allowed"),
        ("n choice []", "not allowed"),
        ("n choice __import__('os').mkdir('ran')", "not allowed"),
        ("b uniform 1,0", "expected numbers low,high"),
        ("b uniform a,b", "expected numbers low,high"),
        ("b quniform 0,1", "expected numbers low,high,step"),
        ("", "one or more keys"),
        ("n choice [1]\nn choice [2]", "each once"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, text, words):
    path = tmp_path / "a.hyper"
    path.write_text(text)
    with pytest.raises(UsageError, match=words):
        read_space(path)
    assert not (tmp_path / "ran").exists()


def test_missing_files():
    with pytest.raises(UsageError, match=r"none\.hyper"):
        read_space("none.hyper")
    with pytest.raises(UsageError, match="no packaged space for BPR"):
        default_space("BPR")
    with pytest.raises(UsageError, match=r"model: 'DNNN' is not known; did you mean 'DNN'\?"):
        default_space("DNNN")
    assert read_space(default_space("MIDPG"))
