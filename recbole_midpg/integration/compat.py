"""What RecBole 1.2.1 needs to run on today's packages: one function a defect.

Each function looks whether its defect is present and changes nothing where it is not. Only modules
in memory are changed, never files.
"""

from __future__ import annotations

import functools
import importlib
import sys
import warnings
from collections.abc import Callable, Hashable
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import dok_matrix
from torch.optim import Optimizer

# Names that numpy 1.24 and numpy 2 removed, as RecBole and ray 2.6 still write them.
_REMOVED_NUMPY_NAMES: dict[str, type] = {
    "bool8": np.bool_,
    "complex": np.complex128,
    "complex_": np.complex128,
    "float": np.float64,
    "float_": np.float64,
    "int": np.int64,
    "long": np.int64,
    "object": np.object_,
    "unicode": np.str_,
    "unicode_": np.str_,
}

# By this attribute torch's ``_disable_dynamo`` finds what to call in a function's place.
_UNCOMPILED = "__dynamo_disable"


def apply_before_recbole() -> None:
    """Repair what breaks RecBole's own import."""
    restore_numpy_names()
    provide_distutils()
    import_recbole()


def apply_after_recbole() -> None:
    """Repair what breaks RecBole once it is imported."""
    restore_pandas_2_semantics()
    return_plain_metric_values()
    hush_grad_scaler_warning()
    start_optimizers_without_the_compiler()
    let_hyperopt_import()
    restore_filling_of_sparse_matrices()


def restore_numpy_names() -> None:
    """Give numpy back the aliases that RecBole uses.

    Cause: numpy 1.24 removed ``np.float`` and its like, numpy 2.0 ``np.float_``, ``np.bool8`` and
    their like. ``Config.compatibility_settings`` reads ``np.float_`` first of all, so that on
    numpy 2 every ``Config()`` dies. RecBole writes ``np.float`` in ``Dataset._fill_nan`` and
    ``np.long``, which numpy 1.24 to 1.26 lack, in ``ContextRecommender``; ray 2.6 ``np.bool8``.
    """
    for name, scalar_type in _REMOVED_NUMPY_NAMES.items():
        if name not in np.__dict__:
            setattr(np, name, scalar_type)


def provide_distutils() -> None:
    """Give thop the one class of ``distutils`` that it imports.

    Cause: thop compares torch's version with ``distutils.version.LooseVersion``; Python 3.12
    removed ``distutils``, and setuptools, which brings a copy, is no longer in a new environment.
    """
    try:
        importlib.import_module("distutils.version")
    except ImportError:
        from torch.torch_version import TorchVersion

        version = ModuleType("distutils.version")
        version.LooseVersion = TorchVersion  # type: ignore[attr-defined]
        package = ModuleType("distutils")
        package.version = version  # type: ignore[attr-defined]
        sys.modules.update({"distutils": package, "distutils.version": version})


def import_recbole() -> None:
    """Import RecBole without ray and scikit-learn, which it imports and hardly uses.

    Cause: ``recbole.quick_start`` imports ``ray.tune`` for one call, ``tune.report``, which does
    nothing outside a ray session. RecBole caps ray at 2.6.3, which cannot be installed on Python
    3.12, imports ``pkg_resources`` (gone from setuptools 81) and reads ``np.bool8`` (gone from
    numpy 2). ``recbole.evaluator`` imports scikit-learn for three functions, and with it all of
    ``scipy.stats``: a fifth of the time until a run begins. Stand-ins are there during this import
    alone, so that nobody else takes them for the real ones.
    """
    ray, metrics = ModuleType("ray"), ModuleType("sklearn.metrics")
    ray.tune = SimpleNamespace(report=_report_to_ray)  # type: ignore[attr-defined]
    for name in ("auc", "mean_absolute_error", "mean_squared_error"):
        setattr(metrics, name, _imported_when_called("sklearn.metrics", name))
    stand_ins = {"ray": ray, "sklearn.metrics": metrics}
    kept = {name: sys.modules[name] for name in stand_ins if name in sys.modules}
    sys.modules.update(stand_ins)
    try:
        importlib.import_module("recbole.quick_start")
    finally:
        for name in stand_ins:
            del sys.modules[name]
        sys.modules.update(kept)


def _report_to_ray(**metrics: float) -> None:
    """Stand in for ``ray.tune.report``: without ray imported there is no session to report to."""
    tune = sys.modules.get("ray.tune")
    if tune is not None:
        tune.report(**metrics)


def _imported_when_called(module: str, name: str) -> Callable[..., Any]:
    """A function of a module that is imported with the first call."""

    def function(*args: Any, **kwargs: Any) -> Any:
        return getattr(importlib.import_module(module), name)(*args, **kwargs)

    return function


def _stand_in_module(name: str, cause: Exception) -> ModuleType:
    package = name.partition(".")[0]
    reason = f"{package} cannot be imported here ({type(cause).__name__}: {cause})"

    def missing(attribute: str) -> Any:
        # Dunder look-ups come from the import system, which expects AttributeError alone.
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        raise ImportError(f"{name}.{attribute} is not available: {reason}")

    module = ModuleType(name)
    module.__getattr__ = missing  # type: ignore[method-assign]
    module.__path__ = []
    return module


def start_optimizers_without_the_compiler() -> None:
    """Let the first optimizer be built without an import of torch's compiler.

    Cause: torch 2 marks four methods of ``Optimizer`` as not to be compiled, and the first call of
    one imports ``torch._dynamo`` and sympy for it, which takes a second or two; no step here is
    compiled with its optimizer. A method says by this attribute what that import would find out.
    """
    for name in ("add_param_group", "zero_grad", "state_dict", "load_state_dict"):
        method = getattr(getattr(Optimizer, name), "__wrapped__", None)
        if method is not None and not hasattr(method, _UNCOMPILED):
            setattr(method, _UNCOMPILED, method)


def restore_pandas_2_semantics() -> None:
    """Give RecBole's dataset modules data frames that behave as under pandas 2.

    Cause: RecBole relies on three things that pandas 3 changed, two of them silently; pandas 2.1
    began to warn of them.

    - ``frame[column].fillna(value, inplace=True)`` filled the frame; now it fills a copy, so
      missing values survive as NaN.
    - ``series.agg(len)`` and ``series.agg(np.concatenate)`` went element by element first; now
      ``agg(len)`` is the number of rows.
    - Text was read as ``object``; now as ``str``, which the token remapping cannot concatenate.
    """
    if tuple(map(int, pd.__version__.split(".")[:2])) < (2, 1):
        return
    for name in ("dataset", "kg_dataset", "sequential_dataset", "customized_dataset"):
        module: Any = importlib.import_module(f"recbole.data.dataset.{name}")
        if getattr(module, "pd", None) is pd:
            module.pd = _PANDAS_2


def restore_filling_of_sparse_matrices() -> None:
    """Give scipy's ``dok_matrix`` back the method by which RecBole's graph models fill it.

    Cause: scipy 1.13 ended that a ``dok_matrix`` is a ``dict``, and its ``_update`` with it.
    LightGCN, NGCF, GCMC, NCL, SpectralCF, KGIN and MCCLK call it.
    """
    if not hasattr(dok_matrix, "_update"):
        dok_matrix._update = lambda self, entries: self._dict.update(entries)


def return_plain_metric_values() -> None:
    """Let results print as ``0.577``, not as ``np.float64(0.577)``.

    Cause: RecBole's metrics return numpy numbers, whose ``repr`` numpy 2 changed.
    """
    from recbole.evaluator import Evaluator

    stock = Evaluator.evaluate
    if hasattr(stock, "__wrapped__"):
        return

    @functools.wraps(stock)
    def evaluate(self: Any, collected: Any) -> Any:
        result = stock(self, collected)
        for name, value in result.items():
            result[name] = float(value)
        return result

    Evaluator.evaluate = evaluate


def let_hyperopt_import() -> None:
    """Let ``HyperTuning`` import hyperopt where ``pkg_resources`` is gone.

    Cause: hyperopt's ``atpe`` imports ``pkg_resources``, which setuptools 81 dropped, for data
    files that only its ``atpe.suggest`` reads. The stand-in is there during that import alone, so
    that nobody else takes it for the real one.
    """
    from recbole.trainer import HyperTuning

    stock = HyperTuning.__init__
    if hasattr(stock, "__wrapped__"):
        return

    @functools.wraps(stock)
    def initialize(self: Any, *args: Any, **kwargs: Any) -> None:
        import_hyperopt()
        stock(self, *args, **kwargs)

    HyperTuning.__init__ = initialize


def import_hyperopt() -> ModuleType:
    """Import hyperopt, with a stand-in for ``pkg_resources`` where that cannot be imported.

    Raises:
        ImportError: hyperopt is not installed.
    """
    try:
        with warnings.catch_warnings():
            # Of every import that it is deprecated, on the terminal of each process.
            warnings.filterwarnings("ignore", message="pkg_resources is deprecated")
            importlib.import_module("pkg_resources")
    except ImportError as cause:
        sys.modules["pkg_resources"] = _stand_in_module("pkg_resources", cause)
        try:
            return importlib.import_module("hyperopt")
        finally:
            del sys.modules["pkg_resources"]
    return importlib.import_module("hyperopt")


def hush_grad_scaler_warning() -> None:
    """Drop the warning that RecBole's trainer raises in every run.

    Cause: ``recbole.trainer`` writes ``torch.cuda.amp.GradScaler(...)``, deprecated in torch 2.4;
    it still does what it did.
    """
    warnings.filterwarnings(
        "ignore", message=r".*torch\.cuda\.amp\.GradScaler", category=FutureWarning
    )


class _Pandas2Series(pd.Series):
    """A column that fills its frame in place and aggregates element by element."""

    _metadata = ["_frame"]  # noqa: RUF012 - pandas' own way to keep attributes
    _frame: tuple[pd.DataFrame, Hashable] | None = None

    @property
    def _constructor(self) -> Callable[..., _Pandas2Series]:
        return _Pandas2Series

    @property
    def values(self) -> Any:
        # pandas 3 hands out read-only arrays, of which torch warns that it cannot respect them.
        array = super().values
        readable_only = isinstance(array, np.ndarray) and not array.flags.writeable
        return array.copy() if readable_only else array

    def fillna(self, value: Any = None, *, inplace: bool = False, **kwargs: Any) -> Any:
        filled = super().fillna(value, **kwargs)
        if not inplace:
            return filled
        if self._frame is None:
            raise ValueError("This column belongs to no frame that could be filled in place.")
        frame, column = self._frame
        frame[column] = filled
        return None

    def agg(self, func: Any = None, axis: Any = 0, *args: Any, **kwargs: Any) -> Any:
        if func is len:
            return self.map(len)
        if func is np.concatenate:
            return np.concatenate(list(self))
        return super().agg(func, axis, *args, **kwargs)


class _Pandas2Frame(pd.DataFrame):
    """A frame whose columns are :class:`_Pandas2Series` that know it."""

    @property
    def _constructor(self) -> Callable[..., _Pandas2Frame]:
        return _Pandas2Frame

    @property
    def _constructor_sliced(self) -> Callable[..., _Pandas2Series]:
        return _Pandas2Series

    def __getitem__(self, key: Any) -> Any:
        item = super().__getitem__(key)
        if isinstance(item, _Pandas2Series):
            item._frame = (self, key)
        return item


class _Pandas2:
    """The pandas module with readers and constructors that return :class:`_Pandas2Frame`."""

    DataFrame = _Pandas2Frame

    def __getattr__(self, name: str) -> Any:
        return getattr(pd, name)

    @staticmethod
    def read_csv(*args: Any, **kwargs: Any) -> _Pandas2Frame:
        frame = _Pandas2Frame(pd.read_csv(*args, **kwargs))
        text = [name for name, dtype in frame.dtypes.items() if isinstance(dtype, pd.StringDtype)]
        return frame.astype(dict.fromkeys(text, object)) if text else frame


_PANDAS_2 = _Pandas2()
