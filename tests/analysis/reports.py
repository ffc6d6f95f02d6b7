"""Reports of runs and tables of benchmarks, as other commands leave them."""

import json
from pathlib import Path


def run_report(**changed):
    """The content of a report of three epochs of MIDPG."""
    losses = [(0.6, 0.13), (0.5, 0.12), (0.45, 0.1)]
    report = {
        "format": "recbole-midpg run 1",
        "model": "MIDPG",
        "dataset": "gaps",
        "seed": 2020,
        "config": {
            "beta": 0.1,
            "mi_estimator": "jsd",
            "mi_mask_same_scenario": True,
            "train_batch_size": 512,
        },
        "epochs": [
            {
                "epoch": epoch,
                "loss": {"alpha*bce": entropy, "beta*mir": regularisation},
                "valid": {"auc": 0.6 + epoch / 100, "logloss": 0.5} if epoch != 1 else {},
                "scenario_auc": {},
                "training_seconds": 1.0,
            }
            for epoch, (entropy, regularisation) in enumerate(losses)
        ],
        "valid": {"auc": 0.62},
        "test": {"auc": 0.61},
        "scenarios": [{"name": "a", "rows": 30}, {"name": "b", "rows": 10}],
    }
    return {**report, **changed}


def table(models):
    """A benchmark's table; ``models`` gives each model's AUC by seed and scenario."""
    return {
        "format": "recbole-midpg table 1",
        "dataset": "gaps",
        "models": [
            {
                "model": model,
                "trials": [
                    {
                        "seed": seed,
                        "problem": "" if areas else "killed",
                        "scenarios": [{"name": n, "rows": 9, "auc": a} for n, a in areas.items()],
                    }
                    for seed, areas in trials.items()
                ],
            }
            for model, trials in models.items()
        ],
    }


def written(content, name="report.json"):
    path = Path(name)
    path.write_text(json.dumps(content))
    return path
