"""Time and peak memory of each part of a run, as Advertising-shaped data grows.

    python -m benchmarks.scale [--rows 1000000 2000000 ...] [--parts convert load start train]
                               [--folder scale] [--model MIDPG] [--batch-size 8192]
                               [--device cpu|cuda]

Parts, each in a process of its own that begins with an empty memory: ``convert`` makes atomic files
of the raw file, ``load`` reads and splits them for the first time, ``start`` does so from the cache
that this left, ``train`` does that too, trains an epoch and evaluates. The raw file is generated
first and not timed; nothing is made again that lies in the folder already. On a GPU the published
size is

    python -m benchmarks.scale --device cuda --rows 108649408 --parts load train --batch-size 65536

of which ``train`` is to take 120 s at most.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.device import add_device_option, device_settings, require_device
from recbole_midpg.atomic_data_scripts import convert
from recbole_midpg.generated.generate import GENERATED, generate

NAME = "advertising_synth"
PARTS = ("convert", "load", "start", "train")


def run_part(
    part: str, rows: int, folder: Path, model: str, batch_size: int, device: str
) -> dict[str, Any]:
    """Do one part in this process and measure it."""
    # RecBole can be imported only after the package has mended it.
    from recbole.config import Config  # noqa: PLC0415
    from recbole.data import create_dataset, data_preparation  # noqa: PLC0415
    from recbole.quick_start import run_recbole  # noqa: PLC0415

    start = time.perf_counter()
    settings = {
        "data_path": str(folder),
        "dataset_cache_dir": str(folder / "cache"),
        "checkpoint_dir": str(folder / "saved"),
        "synthetic_rows": rows,
        "train_batch_size": batch_size,
        "eval_batch_size": 65_536,
        "epochs": 1,
        "show_progress": False,
        **device_settings(device),
    }
    result: Any = None
    if part == "generate":
        generate(NAME, folder, rows=rows, show_progress=False)
    elif part == "convert":
        raw = folder / NAME / "raw" / GENERATED[NAME].converter.raw_name
        convert(GENERATED[NAME].converter, raw, folder / "again", force=True, show_progress=False)
    elif part == "train":
        result = run_recbole(model, NAME, config_dict=settings)["test_result"]
    else:
        config = Config(model=model, dataset=NAME, config_dict=settings)
        data_preparation(config, create_dataset(config))
    return {
        "seconds": time.perf_counter() - start,
        "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
        "gpu_megabytes": torch.cuda.max_memory_allocated() / 1e6 if device == "cuda" else 0.0,
        "result": result,
    }


def main() -> None:
    """Print a row for each size and part."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 2_000_000, 4_000_000])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--folder", type=Path, default=Path("scale"))
    parser.add_argument("--model", default="MIDPG")
    parser.add_argument("--batch-size", type=int, default=8192)
    add_device_option(parser, default="cpu")
    options = parser.parse_args()
    print(require_device(parser, options.device))
    print(
        f"{'rows':>12} {'part':8} {'seconds':>9} {'µs a row':>9} {'peak MB':>8} {'bytes a row':>12}"
        f" {'GPU MB':>8}"
    )
    for rows in options.rows:
        folder = options.folder / str(rows)
        for part in ("generate", *options.parts):
            arguments = [part, str(rows), str(folder), options.model, str(options.batch_size)]
            arguments.append(options.device)
            command = [sys.executable, "-W", "ignore", "-m", "benchmarks.scale", "part", *arguments]
            run = subprocess.run(command, check=False, capture_output=True, text=True)
            if run.returncode:
                raise SystemExit(run.stderr)
            if part == "generate":
                continue
            taken = json.loads(run.stdout.splitlines()[-1])
            seconds, megabytes = taken["seconds"], taken["megabytes"]
            print(
                f"{rows:12,} {part:8} {seconds:9.1f} {1e6 * seconds / rows:9.2f} "
                f"{megabytes:8.0f} {1e6 * megabytes / rows:12.0f} {taken['gpu_megabytes']:8.0f}  "
                f"{taken['result'] or ''}",
                flush=True,
            )


if __name__ == "__main__":
    if sys.argv[1:2] == ["part"]:
        part, rows, folder, model, batch_size, device = sys.argv[2:]
        sys.argv[1:] = []
        taken = run_part(part, int(rows), Path(folder), model, int(batch_size), device)
        print(json.dumps(taken))
    else:
        main()
