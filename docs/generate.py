"""Write the parts of docs/ that the code decides: ``python docs/generate.py``.

``docs/config.md`` is made of ``recbole_midpg/properties/`` and of the rules that values are checked
against, and the tables between two marks in ``docs/models/``, in README.md and, of the trials
beside it, in ``docs/results/README.md``. tests/test_docs.py says when they are out of date.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import recbole_midpg  # noqa: F401 - RecBole can be imported only after it is mended

# isort: split
import recbole
import yaml

from recbole_midpg.common.rules import Rules
from recbole_midpg.experiments.statistics import half_width, holm, paired_tests
from recbole_midpg.integration.config.config import (
    common_properties,
    common_rules,
    model_properties,
)
from recbole_midpg.integration.config.recbole_keys import RULES
from recbole_midpg.integration.models.registry import own_models
from recbole_midpg.models.base import ScenarioRecommender

DOCS = Path(__file__).resolve().parent
_BEGIN, _END = "<!-- generated: python docs/generate.py -->", "<!-- end of generated -->"
# The sets whose results stand side by side, by their folders.
_SETS = {
    "ml-100k_defaults": "ml-100k",
    "ciao": "Ciao",
    "epinions": "Epinions",
    "amazon_all_models": "generated Amazon, one rate for all",
    "amazon_electronics_synth": "generated Amazon, searched",
    "iaac_all_models": "generated IAAC, one rate for all",
    "iaac_synth": "generated IAAC, 200,000 rows",
}
_SIGNIFICANT = 0.05
_LINE = re.compile(r"(?P<key>\w+):\s+(?P<default>.*?)\s+# \((?P<type>.+?)\) (?P<meaning>.+)")
_TITLES = {
    "scenario": "Scenarios and fields",
    "generated": "Generated data",
    "loading": "Loading and keys",
    "training": "Training",
    "evaluation": "Evaluation",
}
_HEAD = f"""\
# Config keys

{_BEGIN}

RecBole's keys keep their names and meaning, which
[its own pages](https://recbole.io/docs/user_guide/config_settings.html) describe. This page lists
the keys that the package adds, with their defaults, and the keys of RecBole whose values it checks.

A key can be set in these places; what stands further down wins:

1. RecBole's defaults,
2. the package's defaults, which this page lists,
3. the dataset's file: `./dataset_configs/NAME.yaml`, else the package's own of that name,
4. the files of `--config_files`, of two the later one,
5. `config_dict` of a call from Python,
6. the command line: `--key=value` or `--key value`.

Values are read as Python literals or as YAML and are never run as code:
`--mlp_hidden_size=[64,32]`, `--threshold="{{rating: 4}}"`, `--load_col=~` (nothing, here: all
columns). A wrong value, and a key that nothing reads and that looks like a known one, end the
command before data is loaded, with a sentence and exit status 2.
"""


@dataclass(frozen=True)
class Key:
    """One config key as its line in a properties file describes it."""

    name: str
    default: str
    type: str
    meaning: str


def read_keys(path: Path) -> dict[str, Key]:
    """Read the keys of a properties file, in its order.

    Raises:
        ValueError: a line is not of the form ``key: default  # (type) meaning``.
    """
    keys = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        match = _LINE.fullmatch(line)
        if match is None:
            raise ValueError(f"{path}: {line!r} is no key with a default, a type and a meaning")
        name, default, kind, meaning = match.group("key", "default", "type", "meaning")
        keys[name] = Key(name, default, kind, meaning)
    return keys


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A markdown table."""
    names = list(head)
    lines = [names, ["---"] * len(names), *([c.replace("|", "\\|") for c in r] for r in rows)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def key_table(keys: Iterable[Key], rules: Rules) -> str:
    """The table of some keys, with what their rules allow."""
    return table(
        ("key", "type", "default", "meaning", "allowed"),
        (
            (f"`{key.name}`", key.type, f"`{key.default}`", key.meaning, allowed(key.name, rules))
            for key in keys
        ),
    )


def allowed(key: str, rules: Rules) -> str:
    """What a key may hold, where a rule says so by itself."""
    return rules[key].allowed if key in rules else ""


def shared_keys() -> dict[str, Key]:
    """The keys that every model of the package has."""
    first, *others = (read_keys(*model_properties(name)) for name in own_models())
    return {name: key for name, key in first.items() if all(name in other for other in others)}


def own_model_keys(name: str) -> list[Key]:
    """The keys of a model beside those that every model has."""
    shared = shared_keys()
    return [key for key in read_keys(*model_properties(name)).values() if key.name not in shared]


def config_page() -> str:
    """``docs/config.md``."""
    rules = common_rules()
    parts = [_HEAD, "## Of every run\n"]
    for path in common_properties():
        parts.append(f"### {_TITLES.get(path.stem, path.stem.capitalize())}\n")
        parts.append(key_table(read_keys(path).values(), rules))
    parts.append("## Of every model of the package\n")
    parts.append(key_table(shared_keys().values(), ScenarioRecommender.rules))
    parts.append("## Of single models\n")
    for name, model in own_models().items():
        if keys := own_model_keys(name):
            parts.append(f"### {name}\n")
            parts.append(f"Described in [models/{name.lower()}.md](models/{name.lower()}.md).\n")
            parts.append(key_table(keys, model.rules))
    parts.append("## Of RecBole, and checked\n")
    parts.append(recbole_table(RULES))
    return "\n".join(parts)


def recbole_table(rules: Rules) -> str:
    """RecBole's keys that have a rule, with RecBole's defaults for context-aware models."""
    defaults = recbole_defaults()
    return table(
        ("key", "RecBole's default", "allowed"),
        (
            (f"`{key}`", f"`{_as_yaml(defaults[key])}`" if key in defaults else "", rule.allowed)
            for key, rule in sorted(rules.items(), key=lambda item: item[0])
        ),
    )


def recbole_defaults() -> Mapping[str, Any]:
    """RecBole's defaults of a context-aware run on a dataset of the user's."""
    folder = Path(recbole.__file__).parent / "properties"
    files = ("overall", "dataset/sample", "quick_start_config/context-aware")
    defaults: dict[str, Any] = {}
    for file in files:
        text = (folder / f"{file}.yaml").read_text(encoding="utf-8")
        defaults.update(yaml.safe_load(text))
    return defaults


def _as_yaml(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, width=1000).strip()
    return "~" if value is None else text.removesuffix("\n...")


def model_list(pages: str, code: str) -> str:
    """The table of all models.

    Args:
        pages: where the pages of models are, from the page that has the table.
        code: where their modules are.
    """
    measured = real_results()
    return table(
        ("model", "paper", "code", "needs a scenario", "parameters", "AUC", "LogLoss"),
        (
            (
                f"[{name}]({pages}{name.lower()}.md)",
                model.paper,
                f"[{name.lower()}.py]({code}{name.lower()}.py)",
                "yes" if model.needs_scenario else "no",
                *(measured[name][column] for column in ("parameters", "AUC", "LogLoss")),
            )
            for name, model in own_models().items()
        ),
    )


def real_results() -> dict[str, dict[str, str]]:
    """The results of each model on ml-100k with default settings, by the table's columns."""
    path = DOCS / "results" / "ml-100k_defaults" / "table.csv"
    with path.open(encoding="utf-8", newline="") as file:
        return {row["model"]: row for row in csv.DictReader(file)}


def results_overview() -> str:
    """Every model's AUC over DNN's on every set of :data:`_SETS`."""
    columns = [_column(read_areas(DOCS / "results" / folder / "trials.csv")) for folder in _SETS]
    names = sorted(own_models(), key=lambda name: name != "DNN")
    sets = (f"[{title}]({folder}/table.md)" for folder, title in _SETS.items())
    rows = [(name, *(column.get(name, "") for column in columns)) for name in names]
    return table(("model", *sets), rows)


def read_areas(path: Path) -> dict[str, dict[str, float]]:
    """The AUC on the test split of a table's trials, by model and seed."""
    areas: dict[str, dict[str, float]] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            areas.setdefault(row["model"], {})[row["seed"]] = float(row["test auc"])
    return areas


def _column(areas: Mapping[str, Mapping[str, float]]) -> dict[str, str]:
    """DNN's mean AUC, and by how much the others are above it, seed by seed."""
    dnn = areas["DNN"]
    differences = {
        name: [area - dnn[seed] for seed, area in of_model.items()]
        for name, of_model in areas.items()
        if name != "DNN"
    }
    p_values = holm([paired_tests(of_seeds).t for of_seeds in differences.values()])
    column = {"DNN": f"{mean(dnn.values()):.4f}"}
    for (name, of_seeds), p_value in zip(differences.items(), p_values, strict=True):
        text = f"{mean(of_seeds):+.4f} ± {half_width(of_seeds) or math.nan:.4f}"
        column[name] = f"**{text}**" if p_value is not None and p_value < _SIGNIFICANT else text
    return column


def model_defaults(name: str) -> str:
    """The table of a model's own keys, for its page."""
    keys = own_model_keys(name)
    if not keys:
        link = "../config.md#of-every-model-of-the-package"
        return f"None beside those that [every model]({link}) has.\n"
    return key_table(keys, own_models()[name].rules)


def between_marks(page: str, content: str) -> str:
    """A page whose part between the two marks is replaced.

    Raises:
        ValueError: the page has not exactly these two marks.
    """
    before, begin, rest = page.partition(f"{_BEGIN}\n")
    _, end, after = rest.partition(_END)
    if not begin or not end or _BEGIN in after:
        raise ValueError(f"expected one part between {_BEGIN} and {_END}")
    return f"{before}{begin}\n{content}\n{end}{after}"


def generated_pages() -> dict[Path, str]:
    """Every page with a generated part, as it should be."""
    folder = DOCS / "models"
    parts = {
        DOCS.parent / "README.md": model_list("docs/models/", "recbole_midpg/models/"),
        folder / "README.md": model_list("", "../../recbole_midpg/models/"),
        DOCS / "results" / "README.md": results_overview(),
    }
    parts |= {folder / f"{name.lower()}.md": model_defaults(name) for name in own_models()}
    pages = {p: between_marks(p.read_text(encoding="utf-8"), part) for p, part in parts.items()}
    return {DOCS / "config.md": config_page(), **pages}


def main() -> None:
    """Write them."""
    for path, text in generated_pages().items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
