"""The paper's Table 1 on any dataset: every model, several seeds, same splits."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from recbole_midpg.common.choices import PROPOSED
from recbole_midpg.common.config_files import read_config_file
from recbole_midpg.common.errors import UsageError, did_you_mean
from recbole_midpg.evaluation.row_keys import KEYS_OF_ROWS
from recbole_midpg.experiments.statistics import PairedTests, Spread, holm, paired_tests
from recbole_midpg.experiments.trials import TrialPlan, TrialResult
from recbole_midpg.generated import GENERATED, bayes_of_split
from recbole_midpg.integration.models.model_names import (
    defaults_of,
    own_model_names,
    recbole_models,
)
from recbole_midpg.integration.models.outside_models import class_name_of

_COMMON = "common"
# What is compared: the rows, and the scores.
_SHARED = (*KEYS_OF_ROWS, "metrics", "valid_metric")
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


def read_settings(path: str | Path, compared: Collection[str] = ()) -> dict[str, dict[str, Any]]:
    """Read tuned settings: config values by model, and under ``common`` those of all models.

    Args:
        path: the file.
        compared: labels of models that are known besides this package's and RecBole's, as those of
            models from outside.

    Raises:
        UsageError: the file cannot be read, is not of that form, names what is no model, or gives
            one model other rows or metrics than the others.
    """
    content = read_config_file(path)
    for model, values in content.items():
        _check_name(model, path, compared)
        if not isinstance(values, dict):
            raise UsageError(
                f"settings {str(path)!r}: {model} has {values!r}, expected config keys and values."
            )
        alone = [key for key in _SHARED if key in values and model != _COMMON]
        if alone:
            raise UsageError(
                f"settings {str(path)!r}: {model} has {alone[0]}: {values[alone[0]]!r}, which is "
                f"to be the same for all models that are compared, expected it in {_COMMON}."
            )
    return content


def _check_name(name: str, path: str | Path, compared: Collection[str]) -> None:
    """Raise where a name in a file of settings is of no model: its values would be left unread."""
    known = [_COMMON, *own_model_names(), *recbole_models(), *compared]
    if defaults_of(name) not in known:
        raise UsageError(
            f"settings {str(path)!r}: {name!r} is no model that is compared or known, expected "
            f"{_COMMON} or the name of a model{did_you_mean(name, known) or '.'}"
        )


def tuned_settings(
    dataset: str, file: str | None, models: Sequence[str]
) -> tuple[Path | None, dict[str, dict[str, Any]]]:
    """Read the tuned settings of a file, or of the dataset's own where there is one.

    Args:
        dataset: the dataset.
        file: the file, if one is named.
        models: the models that are compared.

    Returns:
        The file, ``None`` where nothing is tuned, and what :func:`read_settings` gives.

    Raises:
        UsageError: see :func:`read_settings`.
    """
    path = find_settings(dataset) if file is None else Path(file)
    return path, {} if path is None else read_settings(path, [*map(class_name_of, models)])


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
        gap_closed: the share of the way from DNN's AUC to the best possible that it goes, over the
            seeds that it and DNN have.
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
        best_baseline: the baseline that is best on validation, over the seeds that all share which
            have at least half as many trials as any; ``None`` without baselines.
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
        label: tuple(_without_undefined(trial) for trial in trials if not trial.problem)
        for label, trials in by_label.items()
    }
    metric = config["valid_metric"].lower()
    valid = {
        label: {
            trial.seed: score
            for trial in trials
            for name, score in trial.valid.items()
            if name.lower() == metric  # RecBole's config has no capitals, a scenario's name may
        }
        for label, trials in finished.items()
    }
    test = {
        label: {trial.seed: trial.test["auc"] for trial in trials if "auc" in trial.test}
        for label, trials in finished.items()
    }
    best = _best_of(
        {label: scores for label, scores in valid.items() if label not in proposed and scores},
        bigger=config["valid_metric_bigger"],
    )
    differences = _differences_from(best, test)
    tests = _corrected_tests(differences)
    best_aucs = best_possible_by_seed(config, {result.seed for result in results})
    paper = paper_numbers(config["dataset"])

    models = []
    for label, trials in finished.items():
        gained, t = Spread.of(differences[label]), tests[label].t
        mean_valid = Spread.of(list(valid[label].values()))
        models.append(
            ModelSummary(
                label,
                trials,
                tuple(trial.problem for trial in by_label[label] if trial.problem),
                _test_scores(trials),
                mean_valid.mean if mean_valid else None,
                gained,
                tests[label],
                t is not None and t < _SIGNIFICANT and gained is not None and gained.mean > 0,
                _share(
                    test[label],
                    test.get("DNN", {}),
                    {seed: auc for seed, (auc, _) in best_aucs.items()},
                ),
                paper.get(label),
            )
        )
    return Summary(config["dataset"], tuple(models), best, _means(best_aucs))


def _without_undefined(trial: TrialResult) -> TrialResult:
    """Leave out the metrics that its rows do not define, as an AUC of rows of one class."""
    valid, test = (
        {name: value for name, value in scores.items() if math.isfinite(value)}
        for scores in (trial.valid, trial.test)
    )
    return replace(trial, valid=valid, test=test)


def _best_of(scores: Mapping[str, Mapping[int, float]], *, bigger: bool) -> str | None:
    """The model with the best mean score over seeds that the models share.

    One with less than half as many seeds as another is left out, as few seeds may be easy ones.

    Args:
        scores: by model and seed; at least one of each model.
        bigger: whether a higher score is better.
    """
    most = max(map(len, scores.values()), default=0)
    tried = {label: of_seeds for label, of_seeds in scores.items() if 2 * len(of_seeds) >= most}
    shared = set.intersection(*map(set, tried.values())) if tried else set()
    means = {
        label: sum(of_seeds[seed] for seed in shared or of_seeds) / len(shared or of_seeds)
        for label, of_seeds in tried.items()
    }
    return (max if bigger else min)(means, key=lambda label: means[label], default=None)


def _test_scores(trials: Sequence[TrialResult]) -> dict[str, Spread]:
    names = dict.fromkeys(name for trial in trials for name in trial.test)
    spreads = {
        name: Spread.of([trial.test[name] for trial in trials if name in trial.test])
        for name in names
    }
    return {name: spread for name, spread in spreads.items() if spread is not None}


def _share(
    auc: Mapping[int, float], dnn: Mapping[int, float], best_possible: Mapping[int, float]
) -> float | None:
    """The share of the way from DNN's AUC to the best possible, over the seeds that all have."""
    seeds = auc.keys() & dnn.keys() & best_possible.keys()
    way = sum(best_possible[seed] - dnn[seed] for seed in seeds)
    return sum(auc[seed] - dnn[seed] for seed in seeds) / way if way else None


def _differences_from(
    best: str | None, auc: Mapping[str, Mapping[int, float]]
) -> dict[str, list[float]]:
    """Subtract the best baseline's test AUC from every other model's, seed by seed."""
    base = auc.get(best, {}) if best is not None else {}
    return {
        label: []
        if label == best
        else [scores[seed] - base[seed] for seed in sorted(scores.keys() & base.keys())]
        for label, scores in auc.items()
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


def best_possible(config: Any, seeds: Collection[int]) -> tuple[float, float] | None:
    """Compute the best possible AUC and LogLoss on the labels as drawn.

    Args:
        config: RecBole's ``Config`` of a trial on the dataset, which was generated before.
        seeds: of the trials; each draws a split.

    Returns:
        The means over the seeds' test splits; ``None`` where there are none, see
        :func:`best_possible_by_seed`.
    """
    return _means(best_possible_by_seed(config, seeds))


def _means(scores: Mapping[int, tuple[float, float]]) -> tuple[float, float] | None:
    if not scores:
        return None
    auc, logloss = (sum(of_seeds) / len(scores) for of_seeds in zip(*scores.values(), strict=True))
    return auc, logloss


def best_possible_by_seed(config: Any, seeds: Collection[int]) -> dict[int, tuple[float, float]]:
    """Compute the best possible AUC and LogLoss on the labels as drawn, of each seed's test split.

    Args:
        config: RecBole's ``Config`` of a trial on the dataset, which was generated before.
        seeds: of the trials; each draws a split.

    Returns:
        Both of each seed whose test split has rows of both classes; empty where the dataset is not
        a generated one, or is not split at random over all rows.
    """
    split = config["eval_args"]["split"]
    if (
        config["dataset"] not in GENERATED
        or "RS" not in split
        or config["eval_args"]["order"] != "RO"
        or config["eval_args"]["group_by"]
        or config["time_split"] is not None
    ):
        return {}
    folder = Path(config["data_path"])
    scores = {}
    for seed in sorted(seeds):
        test = bayes_of_split(folder, split["RS"], seed)["test"]
        auc, logloss = test["auc_of_drawn_labels"], test["logloss_of_drawn_labels"]
        if auc is not None and logloss is not None:
            scores[seed] = (auc, logloss)
    return scores
