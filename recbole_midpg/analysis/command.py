"""``recbole-midpg analyze``: the options of its parts, and what each prints and writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from tabulate import tabulate

from recbole_midpg.analysis.curves import curves_of
from recbole_midpg.analysis.drawing import figure_paths, import_matplotlib, save_figure, write_json
from recbole_midpg.analysis.figures import (
    check_scenario_count,
    draw_heat_map,
    draw_scatter,
    draw_scenario_gains,
    draw_size_sweep,
    draw_training_curves,
)
from recbole_midpg.analysis.gains import gains_of
from recbole_midpg.analysis.learning_curves import (
    area_table,
    draw_learning_curves,
    gain_table,
    notes,
)
from recbole_midpg.analysis.matrices import collect_matrices, scenarios_to_show
from recbole_midpg.analysis.matrix_figures import MatrixNumbers, describe, heat_map_of, scatter_of
from recbole_midpg.analysis.reports import distinct_labels, read_run, read_table
from recbole_midpg.analysis.sizes import check_sizes, run_sizes
from recbole_midpg.analysis.sweep import (
    Candidate,
    list_candidates,
    parameter_counter,
    parse_sizes,
    run_sweep,
)
from recbole_midpg.analysis.training import PAIR, train_pair
from recbole_midpg.common.arguments import (
    config_values,
    listed_names,
    model_names,
    require_seeds,
)
from recbole_midpg.common.choices import PROPOSED
from recbole_midpg.common.errors import UsageError
from recbole_midpg.common.whole_files import (
    Reads,
    require_folder_name,
    require_free_name,
    write_text,
)
from recbole_midpg.experiments.benchmark import tuned_settings
from recbole_midpg.integration.config.config import build_config


def _require_free_figures(folder: str, names: Sequence[str], force: bool, reads: Reads) -> None:
    """Refuse to draw over what is there; see :func:`require_free_name`."""
    require_folder_name(folder)
    for name in names:
        for path in figure_paths(folder, name):
            require_free_name(path, force, reads)


def _print_paths(paths: Sequence[Path]) -> None:
    for path in paths:
        print(path)


# --------------------------------------------------------------------------------------------------
# Weighting matrices


def analyze_matrices(
    checkpoints: list[str] | None,
    dataset: str | None,
    config_files: list[str],
    split: str,
    scenarios: list[str],
    rows_per_scenario: int,
    seed: int,
    output: str,
    force: bool,
    settings: list[str],
) -> None:
    """Draw the weighting matrices of trained models."""
    import_matplotlib()
    folder = Path(output)
    maps = [f"heat_map_{number + 1}" for number in range(len(checkpoints or PROPOSED))]
    reads = [("a --checkpoint", path) for path in checkpoints or []]
    _require_free_figures(output, ["tsne", *maps], force, reads)
    require_free_name(folder / "numbers.json", force, reads)
    _check_scenarios(scenarios)
    if dataset is not None:
        values = config_values(settings)
        config = build_config(PAIR[0], dataset, config_files, {**values, "seed": seed})
        check_scenario_count(len(scenarios_to_show(config, split, scenarios)))
        pair = train_pair(dataset, folder / "checkpoints", seed, config_files, values)
        checkpoints = [str(path) for path in pair]
    elif settings or config_files:
        raise UsageError(
            f"arguments {' '.join([*settings, *config_files])!r}: a checkpoint has its own config, "
            "expected none beside --checkpoint."
        )
    paths = list(dict.fromkeys(checkpoints or []))
    samples = {
        label: collect_matrices(
            path,
            split=split,
            rows_per_scenario=rows_per_scenario,
            seed=seed,
            chosen=scenarios,
        )
        for label, path in zip(distinct_labels(paths), paths, strict=True)
    }
    check_scenario_count(len({name for sample in samples.values() for name in sample.names}))
    numbers = {label: describe(label, sample) for label, sample in samples.items()}
    scatter = scatter_of(samples, numbers, seed)
    written = save_figure(draw_scatter(scatter), scatter, folder, "tsne")
    for name, entry in zip(maps, numbers.values(), strict=False):
        heat_map = heat_map_of(entry)
        written += save_figure(draw_heat_map(heat_map), heat_map, folder, name)
    entries = [
        {"checkpoint": path, **asdict(entry)}
        for path, entry in zip(paths, numbers.values(), strict=True)
    ]
    write_json(entries, folder / "numbers.json")
    print(_matrices_table(list(numbers.values())))
    _print_paths([*written, folder / "numbers.json"])


def _check_scenarios(scenarios: Sequence[str]) -> None:
    """Check that a silhouette can come of what is asked for, before models are trained for it.

    Raises:
        UsageError: it cannot.
    """
    if scenarios and (len(scenarios) == 1 or len(set(scenarios)) < len(scenarios)):
        raise UsageError(
            f"--scenarios: {' '.join(scenarios)!r} is not allowed, expected two or more, each once."
        )
    check_scenario_count(len(scenarios))


def _matrices_table(numbers: Sequence[MatrixNumbers]) -> str:
    headers = ["checkpoint", "rows", "silhouette", "between/within", "rank correlation", "p"]
    rows = [
        [
            entry.label,
            sum(entry.rows.values()),
            entry.silhouette,
            entry.variance_ratio,
            entry.rank_correlation,
            entry.p_value,
        ]
        for entry in numbers
    ]
    return tabulate(rows, headers=headers, intfmt=",", floatfmt=".4f", missingval="-")


# --------------------------------------------------------------------------------------------------
# Training curves


def analyze_curves(runs: list[str], output: str, force: bool) -> None:
    """Draw the training of runs, epoch by epoch."""
    import_matplotlib()
    _require_free_figures(output, ["curves"], force, [("one of --runs", run) for run in runs])
    paths = list(dict.fromkeys(runs))
    labels = distinct_labels(paths)
    curves = curves_of({label: read_run(path) for label, path in zip(labels, paths, strict=True)})
    rows = [
        [curve.run, panel.quantity, curve.values[0], curve.values[-1], max(curve.values)]
        for panel in curves.panels
        for curve in panel.curves
    ]
    print(tabulate(rows, headers=["run", "quantity", "first", "last", "largest"], floatfmt=".4f"))
    _print_paths(save_figure(draw_training_curves(curves), curves, output, "curves"))


# --------------------------------------------------------------------------------------------------
# Gains by scenario


def analyze_gains(
    table: str, baseline: str, models: list[str], min_rows: int, output: str, force: bool
) -> None:
    """Draw what models gain over a baseline in each scenario."""
    import_matplotlib()
    _require_free_figures(output, ["gains"], force, [("--table", table)])
    found = read_table(table)
    gains = gains_of(found, baseline, listed_names(models), min_rows)
    rows = [
        [model, scenario, count, gain.mean, gain.half_width, gain.deviation, len(gain.differences)]
        for model, of_scenarios in gains.gains.items()
        for scenario, count, gain in zip(gains.scenarios, gains.rows, of_scenarios, strict=True)
    ]
    gained = f"AUC gained over {baseline}"
    headers = ["model", "scenario", "test rows", gained, "± (95 %)", "sd", "pairs"]
    formats = ("", "", "", "+.4f", ".4f", ".4f", "")
    print(tabulate(rows, headers=headers, intfmt=",", floatfmt=formats, missingval="-"))
    if left_out := len(found.scenarios) - len(gains.scenarios):
        print(f"left out: {left_out:,} scenarios of fewer than {min_rows:,} test rows")
    _print_paths(save_figure(draw_scenario_gains(gains), gains, output, "gains"))


# --------------------------------------------------------------------------------------------------
# AUC over sizes


def analyze_sweep(
    dataset: str,
    config_files: list[str],
    sizes: list[str],
    variants: list[str],
    trials: int,
    seed: int,
    jobs: int,
    output: str,
    settings: list[str],
) -> None:
    """Train models of several sizes, and draw their AUC."""
    import_matplotlib()
    require_folder_name(output)
    require_seeds(seed, trials)
    pairs, variants = parse_sizes(sizes), listed_names(variants)
    values = config_values(settings)
    count = parameter_counter(dataset, config_files, values)
    candidates = list_candidates(pairs, variants, count)
    print(_candidates_table(pairs, candidates))
    sweep = run_sweep(
        dataset,
        Path(output) / "sweep.jsonl",
        pairs,
        candidates,
        trials=trials,
        seed=seed,
        jobs=jobs,
        config_files=config_files,
        settings=values,
    )
    rows = [
        [
            name,
            _size_text(sweep.sizes, point.size),
            point.mean,
            point.deviation,
            len(point.test),
            len(point.problems),
        ]
        for name, points in sweep.lines.items()
        for point in points
    ]
    headers = ["model", "(n, k)", "test AUC", "sd", "trials", "failed"]
    print(tabulate(rows, headers=headers, intfmt=",", floatfmt=".4f", missingval="-"))
    _print_paths(save_figure(draw_size_sweep(sweep), sweep, output, "sweep"))


def _candidates_table(sizes: Sequence[tuple[int, int]], candidates: Sequence[Candidate]) -> str:
    rows = [
        [
            candidate.line,
            _size_text(sizes, candidate.size),
            candidate.label,
            candidate.parameters,
        ]
        for candidate in candidates
    ]
    headers = ["model", "(n, k)", "settings", "parameters without embeddings"]
    return tabulate(rows, headers=headers, intfmt=",")


def _size_text(sizes: Sequence[tuple[int, int]], place: int | None) -> str:
    return "any" if place is None else "({}, {})".format(*sizes[place])


# --------------------------------------------------------------------------------------------------
# AUC over rows


def analyze_sizes(
    dataset: str,
    config_files: list[str],
    rows: list[int],
    models: list[str],
    trials: int,
    seed: int,
    settings_file: str | None,
    jobs: int,
    output: str,
    settings: list[str],
) -> None:
    """Train models on a generated set of several sizes, and draw their learning curves."""
    import_matplotlib()
    require_folder_name(output)
    sizes = check_sizes(dataset, rows)
    models = model_names(models)
    file, tuned = tuned_settings(dataset, settings_file, models)
    print(f"settings: {file or 'the defaults, nothing is tuned for this dataset'}")
    curves = run_sizes(
        dataset,
        Path(output) / "sizes.jsonl",
        sizes,
        models,
        trials=trials,
        seed=seed,
        jobs=jobs,
        tuned=tuned,
        config_files=config_files,
        settings=config_values(settings),
    )
    blocks = [area_table(curves), *([gain_table(curves)] if curves.has_gains else [])]
    for headers, lines in blocks:
        print(tabulate(lines, headers=headers, disable_numparse=True), end="\n\n")
    print(*notes(curves), sep="\n\n", end="\n\n")
    written = save_figure(draw_learning_curves(curves), curves, output, "sizes")
    tables = [
        tabulate(lines, headers=headers, tablefmt="github", disable_numparse=True)
        for headers, lines in blocks
    ]
    page = Path(output) / "sizes.md"
    write_text(page, "\n\n".join([*tables, *notes(curves)]) + "\n")
    _print_paths([*written, page])
