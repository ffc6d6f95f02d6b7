"""The paper's Table 1 on any dataset: every model, several seeds, same splits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from recbole_midpg.common.choices import PROPOSED
from recbole_midpg.common.config_files import read_config_file
from recbole_midpg.common.errors import UsageError
from recbole_midpg.experiments.statistics import PairedTests, Spread, holm, paired_tests
from recbole_midpg.experiments.trials import TrialPlan, TrialResult
from recbole_midpg.generated import GENERATED, bayes_of_split
from recbole_midpg.integration.models.outside_models import class_name_of

_COMMON = "common"
_SIGNIFICANT = 0.05


def find_settings(dataset: str) -> Path | None:
    """Find a dataset's tuned settings: the user's ``benchmarks/settings/``, then the package's.

    Returns:
        The file, ``None`` where there is none.
    """
    packaged = Path(str(resources.files("recbole_midpg"))) / "properties" / "tuned"
    for folder in (Path("benchmarks") / "settings", packaged):
        path = folder / f"{dataset}.yaml"
        if path.is_file():
            return path
    return None


def read_settings(path: str | Path) -> dict[str, dict[str, Any]]:
    """Read tuned settings: config values by model, and under ``common`` those of all models.

    Raises:
        UsageError: the file cannot be read or is not of that form.
    """
    content = read_config_file(path)
    for model, values in content.items():
        if not isinstance(values, dict):
            raise UsageError(
                f"settings {str(path)!r}: {model} has {values!r}, expected config keys and values."
            )
    return content


def tuned_settings(dataset: str, file: str | None) -> tuple[Path | None, dict[str, dict[str, Any]]]:
    """Read the tuned settings of a file, or of the dataset's own where there is one.

    Returns:
        The file, ``None`` where nothing is tuned, and what :func:`read_settings` gives.

    Raises:
        UsageError: see :func:`read_settings`.
    """
    path = find_settings(dataset) if file is None else Path(file)
    return path, {} if path is None else read_settings(path)


def settings_text(
    common: Mapping[str, Any], by_model: Mapping[str, Mapping[str, Any]], comments: Sequence[str]
) -> str:
    """The text of a file that :func:`read_settings` reads.

    Args:
        common: config values of all models.
        by_model: those of each alone.
        comments: what is to stand above them.
    """
    content = {**({_COMMON: common} if common else {}), **by_model}
    return as_comments(comments) + yaml.safe_dump(content, sort_keys=False)


def as_comments(lines: Sequence[str]) -> str:
    """Lines of text as comments of a YAML file."""
    return "".join(f"# {line}\n" for line in "\n".join(lines).splitlines())


def plan_trials(
    models: Sequence[str],
    trials: int,
    seed: int,
    settings: Mapping[str, Mapping[str, Any]],
    given: Mapping[str, Any] | None = None,
) -> list[TrialPlan]:
    """Plan trials, seed by seed, so that an early end leaves as many of each model.

    Args:
        models: the models, from outside of the package as ``package.module:Class``.
        trials: how many of each.
        seed: of the first trial; the others follow.
        settings: see :func:`read_settings`.
        given: config values of all models that win over those, as of a command line.
    """
    return [
        TrialPlan(
            label,
            model,
            seed + trial,
            {**settings.get(_COMMON, {}), **settings.get(label, {}), **(given or {})},
        )
        for trial in range(trials)
        for label, model in zip(map(class_name_of, models), models, strict=True)
    ]


@dataclass(frozen=True)
class ModelSummary:
    """A model's line of the table.

    Attributes:
        label: the model.
        trials: its finished trials, by seed.
        problems: why its other trials failed.
        scores: mean and spread of each test metric.
        valid_score: the mean of the validation metric that chooses epochs.
        gained: the paired differences of its test AUC from the best baseline's, seed by seed;
            ``None`` of the baseline itself, and where no seed has both.
        tests: its test AUC against the best baseline's, corrected for all comparisons.
        better: whether it is significantly better by the t-test, which earns the paper's star.
        gap_closed: the share of the way from DNN's AUC to the best possible that it goes.
        paper: AUC and LogLoss of the paper's Table 1.
    """

    label: str
    trials: tuple[TrialResult, ...]
    problems: tuple[str, ...]
    scores: dict[str, Spread]
    valid_score: float | None
    gained: Spread | None
    tests: PairedTests
    better: bool
    gap_closed: float | None
    paper: tuple[float, float] | None

    @property
    def training_seconds(self) -> Spread | None:
        """How long a trial trained."""
        return Spread.of([trial.training_seconds for trial in self.trials])

    def scenario_auc(self) -> dict[str, Spread]:
        """The test AUC of each scenario that had one in some trial."""
        found: dict[str, list[float]] = {}
        for trial in self.trials:
            for row in trial.scenarios:
                if row["auc"] is not None:
                    found.setdefault(row["name"], []).append(row["auc"])
        spreads = {name: Spread.of(values) for name, values in found.items()}
        return {name: spread for name, spread in spreads.items() if spread is not None}


@dataclass(frozen=True)
class Summary:
    """The table.

    Attributes:
        dataset: the dataset.
        models: a line a model.
        best_baseline: the baseline that is best on validation, ``None`` without baselines.
        bayes: the mean of the best possible AUC and LogLoss on the seeds' test splits, where the
            data is generated.
    """

    dataset: str
    models: tuple[ModelSummary, ...]
    best_baseline: str | None
    bayes: tuple[float, float] | None


def summarize(
    results: Sequence[TrialResult], config: Any, proposed: Sequence[str] = PROPOSED
) -> Summary:
    """Sum up trials.

    Args:
        results: of all models.
        config: RecBole's ``Config`` of any of them: dataset, split, validation metric.
        proposed: labels of models that are no baselines.

    Returns:
        The table, models in the order of their first trials.
    """
    by_label: dict[str, list[TrialResult]] = {}
    for result in results:
        by_label.setdefault(result.label, []).append(result)
    finished = {
        label: tuple(trial for trial in trials if not trial.problem)
        for label, trials in by_label.items()
    }
    metric = config["valid_metric"].lower()
    sign = 1.0 if config["valid_metric_bigger"] else -1.0
    valid_scores = {
        label: spread.mean if spread else None
        for label, trials in finished.items()
        for spread in [Spread.of([trial.valid[metric] for trial in trials])]
    }
    baselines = {
        label: sign * score
        for label, score in valid_scores.items()
        if label not in proposed and score is not None
    }
    best = max(baselines, key=lambda label: baselines[label], default=None)
    differences = _differences_from(best, finished)
    tests = _corrected_tests(differences)
    bayes = best_possible(config, sorted({result.seed for result in results}))
    paper = paper_numbers(config["dataset"])
    dnn = _mean_auc(finished.get("DNN", ()))

    models = []
    for label, trials in finished.items():
        auc = _mean_auc(trials)
        best_auc = _mean_auc(finished[best]) if best else None
        t = tests[label].t
        models.append(
            ModelSummary(
                label,
                trials,
                tuple(trial.problem for trial in by_label[label] if trial.problem),
                _test_scores(trials),
                valid_scores[label],
                Spread.of(differences[label]),
                tests[label],
                t is not None and t < _SIGNIFICANT and (auc or 0.0) > (best_auc or 0.0),
                _share(auc, dnn, bayes[0] if bayes else None),
                paper.get(label),
            )
        )
    return Summary(config["dataset"], tuple(models), best, bayes)


def _test_scores(trials: Sequence[TrialResult]) -> dict[str, Spread]:
    names = dict.fromkeys(name for trial in trials for name in trial.test)
    spreads = {
        name: Spread.of([trial.test[name] for trial in trials if name in trial.test])
        for name in names
    }
    return {name: spread for name, spread in spreads.items() if spread is not None}


def _mean_auc(trials: Sequence[TrialResult]) -> float | None:
    spread = Spread.of([trial.test["auc"] for trial in trials if "auc" in trial.test])
    return spread.mean if spread else None


def _share(auc: float | None, dnn: float | None, best_possible: float | None) -> float | None:
    if auc is None or dnn is None or best_possible is None or best_possible == dnn:
        return None
    return (auc - dnn) / (best_possible - dnn)


def _differences_from(
    best: str | None, finished: Mapping[str, Sequence[TrialResult]]
) -> dict[str, list[float]]:
    """Subtract the best baseline's test AUC from every other model's, seed by seed."""
    by_seed = {
        label: {trial.seed: trial.test["auc"] for trial in trials if "auc" in trial.test}
        for label, trials in finished.items()
    }
    base = by_seed.get(best, {}) if best is not None else {}
    return {
        label: []
        if label == best
        else [scores[seed] - base[seed] for seed in sorted(scores.keys() & base.keys())]
        for label, scores in by_seed.items()
    }


def _corrected_tests(differences: Mapping[str, Sequence[float]]) -> dict[str, PairedTests]:
    """Test whether the differences are none, corrected for how many models are tested."""
    raw = {label: paired_tests(of_seeds) for label, of_seeds in differences.items()}
    t = holm([test.t for test in raw.values()])
    wilcoxon = holm([test.wilcoxon for test in raw.values()])
    corrected = map(PairedTests, t, wilcoxon)
    return dict(zip(raw, corrected, strict=True))


def paper_numbers(dataset: str) -> dict[str, tuple[float, float]]:
    """AUC and LogLoss by model of the paper's Table 1; empty for a dataset that is not in it.

    A generated set has the numbers of the set whose shape it has.
    """
    path = Path(str(resources.files("recbole_midpg.experiments"))) / "table1.yaml"
    table = yaml.safe_load(path.read_text(encoding="utf-8"))
    numbers = table.get(dataset.removesuffix("_synth").removesuffix("_time"), {})
    return {model: (auc, logloss) for model, (auc, logloss) in numbers.items()}


def best_possible(config: Any, seeds: Sequence[int]) -> tuple[float, float] | None:
    """Compute the best possible AUC and LogLoss on the labels as drawn.

    Args:
        config: RecBole's ``Config`` of a trial on the dataset, which was generated before.
        seeds: of the trials; each draws a split.

    Returns:
        The means over the seeds' test splits; ``None`` where the dataset is not a generated one, or
        is not split at random over all rows.
    """
    split = config["eval_args"]["split"]
    if (
        config["dataset"] not in GENERATED
        or "RS" not in split
        or config["eval_args"]["order"] != "RO"
        or config["eval_args"]["group_by"]
        or config["time_split"] is not None
    ):
        return None
    folder = Path(config["data_path"])
    tests = [bayes_of_split(folder, split["RS"], seed)["test"] for seed in seeds]
    means = [
        Spread.of([float(test[name] or "nan") for test in tests])
        for name in ("auc_of_drawn_labels", "logloss_of_drawn_labels")
    ]
    auc, logloss = (spread.mean if spread else float("nan") for spread in means)
    return auc, logloss
