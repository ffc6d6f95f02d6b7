"""Each shim is needed (where the installed packages have its defect) and mends it."""

import hashlib
import importlib.util
import sys

import numpy as np
import pandas as pd
import pytest
import scipy
import torch

from tests.support.processes import COMPAT, run_python
from tests.support.recbole_data import dataset_of, gaps_config

NUMPY_2 = int(np.__version__.split(".")[0]) >= 2
PANDAS_3 = int(pd.__version__.split(".")[0]) >= 3
SCIPY_WITHOUT_UPDATE = tuple(map(int, scipy.__version__.split(".")[:2])) >= (1, 13)
# ray 2.6 imports pkg_resources, which setuptools 81 no longer has, and writes np.bool8.
RAY_IMPORTS = importlib.util.find_spec("pkg_resources") is not None and not NUMPY_2

# compat.py as a file of its own, so that one shim can be left out.
LOAD_COMPAT = f"""
import importlib.util
spec = importlib.util.spec_from_file_location("compat", {str(COMPAT)!r})
compat = importlib.util.module_from_spec(spec)
spec.loader.exec_module(compat)
"""
CONFIG = "from recbole.config import Config; Config(model='DeepFM', dataset='ml-100k')"


def outcome(shims: list[str], code: str, cwd, before: str = "") -> str:
    """What code that runs after the shims writes to stderr, or "ok"."""
    calls = "\n".join(f"compat.{shim}()" for shim in shims)
    result = run_python(f"{before}\n{LOAD_COMPAT}\n{calls}\n{code}", cwd)
    return "ok" if result.returncode == 0 else result.stderr


@pytest.mark.slow
def test_config_starts_only_with_numpy_names(tmp_path):
    if NUMPY_2:
        assert "np.float_" in outcome(["import_recbole"], CONFIG, tmp_path)
    assert outcome(["restore_numpy_names", "import_recbole"], CONFIG, tmp_path) == "ok"


@pytest.mark.slow
def test_numpy_names_that_recbole_writes_exist(tmp_path):
    code = "import numpy as np; np.float(1.5); np.long(1); np.bool8"
    if NUMPY_2:
        assert "AttributeError" in outcome([], code, tmp_path)
    assert outcome(["restore_numpy_names"], code, tmp_path) == "ok"


@pytest.mark.slow
def test_quick_start_imports_without_a_working_ray(tmp_path):
    code = "import recbole.quick_start"
    if not RAY_IMPORTS:
        assert outcome([], code, tmp_path) != "ok"
    assert outcome(["import_recbole"], code, tmp_path) == "ok"


@pytest.mark.slow
def test_quick_start_imports_where_ray_is_not_installed(tmp_path):
    no_ray = "import sys; sys.modules['ray'] = None"
    code = """
from recbole.quick_start import quick_start
quick_start.tune.report(auc=0.5)
"""
    assert "ModuleNotFoundError" in outcome([], code, tmp_path, before=no_ray)
    assert outcome(["import_recbole"], code, tmp_path, before=no_ray) == "ok"


def test_a_report_reaches_a_ray_that_is_there(tmp_path):
    code = """
import sys, types
from recbole.quick_start import quick_start
assert "ray" not in sys.modules, "the stand-in is for RecBole's import alone"
tune = types.ModuleType("ray.tune")
tune.report = lambda **metrics: reported.append(metrics)
sys.modules["ray.tune"] = tune
reported = []
quick_start.tune.report(auc=0.5)
assert reported == [{"auc": 0.5}], reported
"""
    assert outcome(["import_recbole"], code, tmp_path) == "ok"


@pytest.mark.slow
def test_scikit_learn_is_imported_by_the_metric_that_needs_it(tmp_path):
    code = """
import sys
import numpy as np
from recbole.evaluator import metrics
assert "sklearn" not in sys.modules, "imported"
assert metrics.sk_auc(np.array([0.0, 0.5, 1.0]), np.array([0.0, 1.0, 1.0])) == 0.75
assert metrics.mean_absolute_error([1.0, 2.0], [1.0, 4.0]) == 1.0
assert metrics.mean_squared_error([1.0, 2.0], [1.0, 4.0]) == 2.0
import sklearn.metrics
assert sklearn.metrics.roc_auc_score([0, 1], [0.1, 0.9]) == 1.0
"""
    assert "AssertionError: imported" in outcome(["restore_numpy_names"], code, tmp_path)
    assert outcome(["restore_numpy_names", "import_recbole"], code, tmp_path) == "ok"


@pytest.mark.slow
def test_an_optimizer_starts_without_torchs_compiler(tmp_path):
    code = """
import sys, torch
weight = torch.nn.Parameter(torch.ones(1))
optimizer = torch.optim.Adam([weight])
optimizer.zero_grad()
optimizer.load_state_dict(optimizer.state_dict())
assert "torch._dynamo" not in sys.modules, "imported"
(2 * weight).sum().backward()
optimizer.step()
assert weight.item() < 1.0
"""
    assert "AssertionError: imported" in outcome([], code, tmp_path)
    assert outcome(["start_optimizers_without_the_compiler"], code, tmp_path) == "ok"


@pytest.mark.slow
def test_thop_imports_without_distutils(tmp_path):
    # Python 3.12 has no distutils; setuptools may bring its own by an import hook.
    no_distutils = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "distutils":
            raise ModuleNotFoundError(name)
for name in [n for n in sys.modules if n.split(".")[0] == "distutils"]:
    del sys.modules[name]
sys.meta_path.insert(0, Refuse())
"""
    code = "import thop.profile"
    assert "ModuleNotFoundError" in outcome([], code, tmp_path, before=no_distutils)
    assert outcome(["provide_distutils"], code, tmp_path, before=no_distutils) == "ok"


FILL_IN_PLACE = """
import recbole.data.dataset.dataset as module
frame = module.pd.DataFrame({"a": [1.0, float("nan")]})
frame["a"].fillna(value=7.0, inplace=True)
assert frame["a"].tolist() == [1.0, 7.0], frame
"""


@pytest.mark.slow
def test_frames_are_filled_in_place(tmp_path):
    shims = ["restore_numpy_names", "provide_distutils", "import_recbole"]
    if PANDAS_3:
        assert "AssertionError" in outcome(shims, FILL_IN_PLACE, tmp_path)
    assert outcome([*shims, "restore_pandas_2_semantics"], FILL_IN_PLACE, tmp_path) == "ok"


AGGREGATE = """
import numpy as np
import recbole.data.dataset.dataset as module
frame = module.pd.DataFrame({"a": [np.array([1, 2]), np.array([3])]})
assert np.size(frame["a"].agg(len)) == 2, frame["a"].agg(len)
assert list(frame["a"].agg(len)) == [2, 1]
assert list(frame["a"].agg(np.concatenate)) == [1, 2, 3]
merged = module.pd.merge(module.pd.DataFrame({"k": [0, 1]}), frame.assign(k=[1, 0]), on="k")
assert list(merged["a"].agg(len)) == [1, 2], merged
"""


@pytest.mark.slow
def test_columns_aggregate_element_by_element(tmp_path):
    shims = ["restore_numpy_names", "provide_distutils", "import_recbole"]
    if PANDAS_3:
        assert "AssertionError" in outcome(shims, AGGREGATE, tmp_path)
    assert outcome([*shims, "restore_pandas_2_semantics"], AGGREGATE, tmp_path) == "ok"


def test_pandas_itself_is_not_changed():
    frame = pd.DataFrame({"a": [1.0, float("nan")]})
    assert type(frame["a"]) is pd.Series
    assert type(frame) is pd.DataFrame


def test_missing_values_are_filled_as_recbole_promises():
    """Worked out by hand: tokens 0, floats the mean of what is there, sequences empty."""
    dataset = dataset_of(gaps_config(numerical_scaling="none"))
    dataset._fill_by_all_rows(["price", "age", "sizes"])
    dataset._change_feat_format()
    inter, user, item = dataset.inter_feat, dataset.user_feat, dataset.item_feat
    mean_price = (10 + 30 + 20 + 40 + 50 + 30 + 60) / 7
    prices = [10, mean_price, 30, 20, mean_price, 40, 50, 30, mean_price, 60]
    torch.testing.assert_close(inter["price"][:, 0], torch.tensor(prices))
    assert inter["price"][:, 1].tolist() == [1.0] * 10
    assert inter["coupon"].tolist() == [1, 2, 0, 1, 2, 1, 0, 2, 1, 1]
    assert inter["label"].tolist() == [1, 0, 1, 0, 1, 0, 1, 0, 1, 0]
    # Row 0 is padding: its age is missing, too.
    torch.testing.assert_close(user["age"][:, 0], torch.tensor([30.0, 20, 30, 40, 30]))
    assert user["job"].tolist() == [0, 1, 2, 0, 1]
    assert item["genres"].tolist() == [[0, 0], [1, 2], [0, 0], [2, 0]]
    assert item["sizes"][:, :, 0].tolist() == [[0, 0], [1.5, 2.5], [0, 0], [0.5, 0]]
    for feature in (inter, user, item):
        for name in feature.columns:
            assert not torch.isnan(feature[name].float()).any(), name


def digest(dataset) -> str:
    dataset._change_feat_format()
    hashed = hashlib.sha256()
    for feature in (dataset.inter_feat, dataset.user_feat, dataset.item_feat):
        for name in sorted(feature.columns):
            tensor = feature[name]
            hashed.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            hashed.update(tensor.numpy().tobytes())
    return hashed.hexdigest()


@pytest.mark.parametrize(
    ("numerical_features", "expected"),
    [
        ([], "ef3911737576417b9c969eaa2a62f25b544ab97bb2e2e629965b71ea820cd8bc"),
        (["timestamp"], "8732f141284cc7e31d118baea326a6eaf8abc718e6c585f48bec7a5d3c9b991a"),
    ],
)
def test_ml_100k_is_the_same_on_every_stack(numerical_features, expected):
    """The digests were taken from stock RecBole on numpy 1.26 and pandas 2.3."""
    from recbole.config import Config

    config = Config(
        model="DeepFM",
        dataset="ml-100k",
        config_dict={"numerical_features": numerical_features, "load_col": None},
    )
    assert digest(dataset_of(config)) == expected


FILL_SPARSE = """
import scipy.sparse as sp
matrix = sp.dok_matrix((2, 3), dtype="float32")
matrix._update({(0, 1): 1, (1, 2): 5})
assert matrix.toarray().tolist() == [[0, 1, 0], [0, 0, 5]]
assert (matrix > 0).sum(axis=1).ravel().tolist() == [[1, 1]]
assert sp.coo_matrix(sp.diags([2.0, 1.0]) @ matrix).toarray().tolist() == [[0, 2, 0], [0, 0, 5]]
"""


@pytest.mark.slow
def test_sparse_matrices_are_filled(tmp_path):
    if SCIPY_WITHOUT_UPDATE:
        assert "AttributeError" in outcome([], FILL_SPARSE, tmp_path)
    assert outcome(["restore_filling_of_sparse_matrices"], FILL_SPARSE, tmp_path) == "ok"


def test_results_are_plain_numbers():
    from collections import OrderedDict

    from recbole.evaluator import Evaluator
    from recbole.evaluator.collector import DataStruct

    collected = DataStruct()
    collected.set("rec.score", torch.tensor([0.2, 0.9]))
    collected.set("data.label", torch.tensor([0.0, 1.0]))
    result = Evaluator(gaps_config()).evaluate(collected)
    assert isinstance(result, OrderedDict)
    assert [type(value) for value in result.values()] == [float, float]


def test_nothing_in_recbole_is_edited_on_disk():
    import recbole

    assert "recbole_midpg" not in "".join(
        path.read_text(encoding="utf-8")
        for path in __import__("pathlib").Path(recbole.__file__).parent.rglob("*.py")
    )
    assert "recbole_midpg" in sys.modules


@pytest.mark.slow
def test_hyperopt_imports_without_pkg_resources(tmp_path):
    no_pkg_resources = "import sys; sys.modules['pkg_resources'] = None"
    assert "ModuleNotFoundError" in outcome(
        [], "import hyperopt", tmp_path, before=no_pkg_resources
    )
    code = "import sys, hyperopt.tpe; assert sys.modules.get('pkg_resources') is None"
    assert outcome(["import_hyperopt"], code, tmp_path, before=no_pkg_resources) == "ok"
