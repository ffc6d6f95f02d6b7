"""Models that are written outside of this package, and take part as if they stood in it.

A file ``my_package/my_file.py`` with a class ``MyModel`` is named ``my_package.my_file:MyModel``,
in the folder of the command or wherever Python finds modules. Its defaults stand beside it in
``MyModel.yaml``, its search space in ``MyModel.hyper``; both may be absent. From then on the model
has the name of its class, in checkpoints as well.

No file names a module to import: a checkpoint's model of this kind is known once the command or the
program names it.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from dataclasses import dataclass
from pathlib import Path

import recbole.trainer
from recbole.model.abstract_recommender import AbstractRecommender

from recbole_midpg.common.errors import UsageError, expected_some_of
from recbole_midpg.integration.models.model_names import own_model_names, recbole_models
from recbole_midpg.models.base import ScenarioRecommender
from recbole_midpg.training.trainer import ScenarioTrainer


@dataclass(frozen=True)
class OutsideModel:
    """A model from outside of the package.

    Attributes:
        model_class: its class.
        properties: the file of its defaults, which need not exist.
    """

    model_class: type[AbstractRecommender]
    properties: Path

    @property
    def space(self) -> Path:
        """The file of its search space, which need not exist."""
        return self.properties.with_suffix(".hyper")


_models: dict[str, OutsideModel] = {}


def outside_models() -> dict[str, OutsideModel]:
    """The models from outside that are known in this process, by name."""
    return dict(_models)


def register(
    model_class: type[AbstractRecommender], properties: str | Path | None = None
) -> type[AbstractRecommender]:
    """Let RecBole and this package's commands know a model by the name of its class.

    Models of any of RecBole's kinds are known; the commands of this package are for those that are
    context-aware.

    Also a decorator of the class. A class that is defined anew, as in a notebook, takes the place
    of the one before.

    Args:
        model_class: a :class:`ScenarioRecommender`, or a ``ContextRecommender`` or another kind of
            RecBole's.
        properties: a YAML file of its config keys' defaults; by default ``NAME.yaml`` beside the
            file of the class, where there is one.

    Returns:
        The class.

    Raises:
        UsageError: it is no model, it declares its keys as earlier versions did, ``properties``
            does not exist, or another model has its name.
    """
    is_class = isinstance(model_class, type)
    name = model_class.__name__ if is_class else repr(model_class)
    if not is_class or not issubclass(model_class, AbstractRecommender):
        raise UsageError(
            f"model: {name} is not allowed, expected a class that extends ScenarioRecommender or "
            "one of RecBole's, as ContextRecommender."
        )
    if issubclass(model_class, ScenarioRecommender) and hasattr(model_class, "settings"):
        raise UsageError(
            f"model: {name} declares its config keys as 'settings', the name of earlier versions, "
            "expected 'rules'."
        )
    if name in {*own_model_names(), *recbole_models()}:
        raise UsageError(
            f"model: {name!r} of {model_class.__module__} has the name of another model, expected "
            "a name of its own."
        )
    known = _models.get(name)
    if known is not None and _identity(known.model_class) != _identity(model_class):
        raise UsageError(
            f"model: {name!r} of {model_class.__module__} has the name of a model of "
            f"{known.model_class.__module__}, expected a name of its own."
        )
    if properties is not None and not Path(properties).is_file():
        raise UsageError(f"properties: there is no file {str(properties)!r}.")
    path = Path(properties) if properties is not None else _beside(model_class)
    _models[name] = OutsideModel(model_class, path)
    if issubclass(model_class, ScenarioRecommender):
        setattr(recbole.trainer, f"{name}Trainer", ScenarioTrainer)
    return model_class


def class_name_of(model: str) -> str:
    """The name that a model has once it is known: that of its class, without its place."""
    return model.rpartition(":")[2]


def import_model(place: str) -> type[AbstractRecommender]:
    """Import a model and register it.

    Args:
        place: ``package.module:Class``, found from the current folder as well.

    Returns:
        The model's class.

    Raises:
        UsageError: there is no such module or class, its import fails, or see :func:`register`.
    """
    module_name, _, class_name = place.partition(":")
    # Behind all else, so that no file of the folder takes the place of an installed module.
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.append(folder)
    try:
        module = importlib.import_module(module_name)
    except (ImportError, ValueError, TypeError, SyntaxError) as error:
        raise UsageError(
            f"model: {place!r} cannot be imported ({type(error).__name__}: {error}), expected "
            "package.module:Class, as my_package.my_file:MyModel."
        ) from error
    classes = [
        name
        for name, member in vars(module).items()
        if isinstance(member, type)
        and issubclass(member, AbstractRecommender)
        and member.__module__ == module.__name__
    ]
    if class_name not in classes:
        raise UsageError(
            f"model: {module_name} has no model {class_name!r}"
            f"{expected_some_of(classes, class_name)}"
        )
    return register(getattr(module, class_name))


def _identity(model_class: type) -> tuple[str, str]:
    return model_class.__module__, model_class.__qualname__


def _beside(model_class: type) -> Path:
    """The path of ``NAME.yaml`` beside a class's file; of the current folder in a notebook."""
    try:
        folder = Path(inspect.getfile(model_class)).parent
    except (OSError, TypeError):
        folder = Path.cwd()
    return folder / f"{model_class.__name__}.yaml"
