"""The table of seams against RecBole itself: each entry is there, and nothing else is changed."""

import inspect
import json

import pytest
import recbole

from recbole_midpg.integration import seams
from recbole_midpg.integration.models.model_names import recbole_models
from recbole_midpg.integration.models.registry import get_model
from recbole_midpg.integration.seams import Added, Function, OfModel, Seam, Shimmed, Wrapped
from tests.support.processes import run_python

# RecBole as it is between its import and the table, in a process of its own: the package's own
# __init__ would do all at once.
COMPARE = """
import importlib, importlib.util, json, sys, types

package = importlib.util.module_from_spec(importlib.util.find_spec("recbole_midpg"))
package.__version__ = "0"
sys.modules["recbole_midpg"] = package  # not run
from recbole_midpg.integration import compat
compat.apply_before_recbole()
import recbole
for name in MODULES:
    importlib.import_module(name)
from recbole_midpg.integration.models.model_names import recbole_models
models = {}
for name in recbole_models():
    try:
        models[name] = recbole.utils.get_model(name)
    except (ImportError, AttributeError):
        pass  # it needs a package that is not here

def everything():
    found = {}
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] != "recbole" or module.__name__ != name:
            continue  # ours, under RecBole's name
        for key, value in vars(module).items():
            if isinstance(value, types.ModuleType) and value.__name__.startswith("recbole"):
                continue  # a submodule, or one imported by name
            found[name, key] = value
            if isinstance(value, type) and value.__module__ == name:
                for attribute, member in vars(value).items():
                    found[f"{name}:{key}", attribute] = member
    return found

before = everything()
compat.apply_after_recbole()
from recbole_midpg.integration import seams
imported = everything()
seams.install()
after = everything()
absent = object()

def changed(first, second):
    places = {
        place for place in first.keys() | second.keys()
        if first.get(place, absent) is not second.get(place, absent)
    }
    # A class that is replaced as a whole is one place.
    return sorted(
        f"{owner}.{name}" for owner, name in places if tuple(owner.split(":")) not in places
    )

# Functions that others imported by name: they stand in the table once.
functions = {
    id(before[seam.owner.__name__, seam.name]): f"{seam.owner.__name__}.{seam.name}"
    for seam in seams.SEAMS if isinstance(seam, seams.Function)
}
found = set()
for place in changed(before, after):
    owner, _, name = place.rpartition(".")
    found.add(functions.get(id(before.get((owner, name))), place))
for name in models:
    recbole.utils.get_model(name)
asked = everything()
for name in models:
    recbole.utils.get_model(name)
seams.install()
print(json.dumps({
    "found": sorted(found),
    "while importing": [p for p in changed(before, imported)],
    "once asked for": changed(after, asked),
    "second": changed(asked, everything()),
    "models": len(models),
}))
"""


def place(seam: Seam) -> str:
    owner = seam.owner
    if isinstance(owner, OfModel):
        colon = f":{owner.class_name}" if owner.class_name else ""
        return f"{owner.module_name}{colon}.{seam.name}"
    if isinstance(owner, type):
        return f"{owner.__module__}:{owner.__name__}.{seam.name}"
    return f"{owner.__name__}.{seam.name}"


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    modules = sorted(
        {
            inspect.getmodule(seam.owner).__name__
            if isinstance(seam.owner, type)
            else seam.owner.__name__
            for seam in seams.SEAMS
            if not isinstance(seam.owner, OfModel)
        }
    )
    code = f"MODULES = {modules!r}\n{COMPARE}"
    result = run_python(code, tmp_path_factory.mktemp("seams"))
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


def test_the_table_is_all_that_is_changed(comparison):
    ours = {
        place(seam)
        for seam in seams.SEAMS
        if not isinstance(seam, Shimmed) and not isinstance(seam.owner, OfModel)
    }
    # Shims change nothing where their defect is absent, as with an older pandas.
    shims = {place(seam) for seam in seams.SEAMS if isinstance(seam, Shimmed)} - ours
    assert set(comparison["found"]) - shims == ours | {"recbole._seams_of_midpg"}


@pytest.mark.slow
def test_what_asking_for_models_changes_stands_in_the_table(comparison):
    assert comparison["models"] >= 90
    later = [place(seam) for seam in seams.SEAMS if isinstance(seam.owner, OfModel)]
    assert comparison["once asked for"] == sorted(later)


def test_importing_our_modules_changes_nothing_but_what_the_shims_do(comparison):
    shims = {place(seam) for seam in seams.SEAMS if isinstance(seam, Shimmed)}
    assert set(comparison["while importing"]) <= shims


def test_a_second_install_or_request_changes_nothing(comparison):
    assert comparison["second"] == []


def found(owner):
    """An entry's owner, for which its model is asked where it is one's."""
    if not isinstance(owner, OfModel):
        return owner
    (name,) = [name for name in recbole_models() if name.lower() == owner.module.split(".")[1]]
    assert get_model(name).__module__ == owner.module_name
    return owner.found()


@pytest.mark.parametrize("seam", seams.SEAMS, ids=place)
def test_each_entry_stands_in_the_installed_recbole(seam):
    owner = found(seam.owner)
    assert hasattr(owner, seam.name)
    assert seam.why
    assert seam.since == recbole.__version__.removeprefix("v"), "look at the name's new form"
    value = getattr(owner, seam.name)
    if isinstance(seam, Wrapped):
        for _ in seam.ours:
            value = value.__wrapped__
        ours = value.__module__.startswith("recbole_midpg.")
        assert not ours or value.__module__.endswith(".compat")
    elif not isinstance(seam, Shimmed):
        assert inspect.unwrap(value) is inspect.unwrap(seam.ours)


def test_no_name_stands_twice_but_where_a_shim_stands_below():
    places = [place(seam) for seam in seams.SEAMS if not isinstance(seam, Shimmed)]
    assert len(places) == len(set(places))


def test_names_that_are_added_are_not_recboles(tmp_path):
    names = [
        (seam.owner.__name__, seam.name)
        for seam in seams.SEAMS
        if isinstance(seam, Added) and seam.owner is recbole.trainer
    ]
    assert len(names) >= 8
    code = f"""
import importlib.util, pathlib
folder = pathlib.Path(importlib.util.find_spec("recbole").origin).parent
text = "".join(path.read_text() for path in (folder / "trainer").glob("*.py"))
assert not [name for _, name in {names!r} if name in text]
"""
    assert run_python(code, tmp_path).returncode == 0


@pytest.mark.slow
def test_a_function_imported_before_the_package_is_ours_all_the_same(tmp_path):
    """Also under another name."""
    compat = str(seams.__file__).replace("seams.py", "compat.py")
    code = f"""
import importlib.util
spec = importlib.util.spec_from_file_location("compat", {compat!r})
compat = importlib.util.module_from_spec(spec)
spec.loader.exec_module(compat)
compat.apply_before_recbole()
from recbole.quick_start import run_recbole as start
from recbole.data import create_dataset
stock = start
import recbole_midpg
assert start is recbole_midpg.integration.run.run.run_recbole, start
assert create_dataset is recbole_midpg.integration.dataset.saved_dataset.create_dataset
"""
    result = run_python(code, tmp_path)
    assert result.returncode == 0, result.stderr


def test_functions_of_the_table_are_recboles(comparison):
    assert sum(isinstance(seam, Function) for seam in seams.SEAMS) >= 12
