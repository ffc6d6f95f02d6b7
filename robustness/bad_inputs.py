"""Type every bad input as a user would: one sentence must come back, and nothing be lost.

    python -m robustness.bad_inputs [--jobs 2] [--only WORDS]

Each input is a command in a process of its own, in a fresh copy of a folder with a small dataset,
an unfinished run, checkpoints of several kinds and the log of none. What lies in the folder is
digested before and after. An error must end with status 2 and say so in one sentence on stderr,
with no traceback; a warning with status 0 and a line in the log; and no file of before may be
changed, and none may be new beside logs. A full disk is a file system in memory that is mounted in
the folder, a folder that cannot be written the same mounted read-only; where the script may not
mount, a limit on the size of files stands for the one, and the other is left out.

Prints a Markdown table. The exit status is 0 where every input behaves.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from robustness.kill import COMMAND
from tests.support.small_rows import ROWS, TOKENS, write_rows

NAME, MODEL = "clicks", "DPG"
SETTINGS = f"""\
model: {MODEL}
dataset: {NAME}
data_path: dataset
load_col: ~
LABEL_FIELD: label
numerical_features: [price]
scenario_fields: [place]
generator_input: scenario
extra_keys: [generator_input]
embedding_size: 4
mlp_hidden_size: [16, 8]
learning_rate: 0.1
train_batch_size: 256
epochs: 1
stopping_step: 10000
show_progress: False
state: WARNING
"""
LIMIT_KIB = 16
SECONDS = 240
# What any command may leave.
LOGS = ("log", "log_tensorboard", "cache")
# Of hyperopt, which imports what newer setuptools are to drop.
HYPEROPT = "ignore:pkg_resources is deprecated"
# What predict and its like say on stderr of the values that they have read.
READ_LINE = re.compile(r"\w+: [\d,]+ known, |warning: ")
LOG_LINE = re.compile(r"^(\x1b\[\d*m)*\d\d \w{3} \d\d:\d\d +(\w+) ")

Change = Callable[["Surroundings"], None]


@dataclass
class Surroundings:
    """Where one command runs.

    Attributes:
        folder: its working folder.
        undo: what is undone after it.
        limit_kib: the largest file that it may write, if that is limited.
    """

    folder: Path
    undo: ExitStack
    limit_kib: int | None = None

    @property
    def checkpoint(self) -> Path:
        """The best checkpoint of the unfinished run."""
        return found(self.folder, "saved/*.pth")

    @property
    def rows(self) -> Path:
        """The dataset's file."""
        return self.folder / "dataset" / NAME / f"{NAME}.inter"


@dataclass(frozen=True)
class Case:
    """A bad input.

    Attributes:
        what: names it.
        words: the command's words; ``<saved/*.pth>`` stands for the file of that pattern.
        says: a pattern that the sentence, or the warning, has.
        change: what is done to the folder before.
        status: the exit status that it should have.
        lines: how many lines the sentence may have.
        makes: the new files that it may leave beside logs, as patterns.
        interrupted: whether Ctrl-C is pressed once an epoch is complete.
    """

    what: str
    words: list[str]
    says: str
    change: Change = lambda _: None
    status: int = 2
    lines: int = 1
    makes: tuple[str, ...] = ()
    interrupted: bool = False


# --------------------------------------------------------------------------------------------------
# The folder


def found(folder: Path, pattern: str) -> Path:
    """The one file of a pattern."""
    (path,) = folder.glob(pattern)
    return path


def run_recbole(*words: str) -> list[str]:
    """The words of ``run_recbole``."""
    return ["-m", "recbole_midpg", "--config_files=settings.yaml", *words]


def midpg(*words: str) -> list[str]:
    """The words of ``recbole-midpg``."""
    return ["-c", COMMAND, *words]


def predict(checkpoint: str = "<saved/*.pth>", rows: str = "new.csv") -> list[str]:
    """The words of ``recbole-midpg predict``."""
    return midpg(
        *f"predict --checkpoint {checkpoint} --input {rows} --output kept.csv --force".split()
    )


def start(words: list[str], around: Surroundings) -> subprocess.Popen[str]:
    """Start a command."""
    limit = around.limit_kib
    # In blocks of 512 bytes, as POSIX has it; bash counts in KiB.
    shell = [] if limit is None else ["sh", "-c", f'ulimit -f {limit * 2}; exec "$@"', "sh"]
    names = [re.sub("<(.*)>", partial(_named, around.folder), word) for word in words]
    return subprocess.Popen(
        [*shell, sys.executable, "-W", HYPEROPT, *names],
        cwd=around.folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(around.folder / "cache")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell lets what it starts in the background ignore Ctrl-C. No thread holds a lock here.
        preexec_fn=_heed_interrupts,  # noqa: PLW1509
    )


def _named(folder: Path, match: re.Match[str]) -> str:
    return str(found(folder, match[1]).relative_to(folder))


def _heed_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def interrupt_when(process: subprocess.Popen[str], done: Callable[[], bool]) -> tuple[str, str]:
    """Press Ctrl-C once something is done; stdout and stderr."""
    end = time.monotonic() + SECONDS
    while process.poll() is None and not done() and time.monotonic() < end:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    return process.communicate(timeout=SECONDS)


def make_template(folder: Path) -> None:
    """Make the folder that each command has a copy of."""
    around = Surroundings(folder, ExitStack())
    (folder / "settings.yaml").write_text(SETTINGS, encoding="utf-8")
    write_rows(around.rows, 1)
    write_rows(folder / "dataset" / "visits" / "visits.inter", 2)
    header = [*TOKENS, "price"]
    rows = [",".join(str(i % 4) for _ in header) for i in range(3)]
    (folder / "new.csv").write_text("\n".join([",".join(header), *rows]) + "\n", encoding="utf-8")
    (folder / "kept.csv").write_text("kept\n", encoding="utf-8")
    others = folder / "others"

    def finished(name: str, *words: str) -> None:
        process = start(run_recbole(*words), around)
        error = process.communicate()[1]
        if process.returncode:
            raise SystemExit(error)
        others.mkdir(exist_ok=True)
        found(folder, "saved/*.pth").rename(others / f"{name}.pth")
        shutil.rmtree(folder / "saved")

    finished("visits", "--dataset=visits")
    finished("dnn", "--model=DNN")
    process = start(run_recbole(*UNFINISHED), around)
    interrupt_when(process, lambda: any(folder.glob("saved/*.progress")))
    if not list(folder.glob("saved/*.progress")):
        raise SystemExit("the run that is to be resumed has left no progress file")
    scorer = midpg("export", "--checkpoint", "<saved/*.pth>", "--output", "others/model.scorer")
    if start(scorer, around).wait():
        raise SystemExit("the model could not be exported")
    for name in LOGS:
        shutil.rmtree(folder / name, ignore_errors=True)


UNFINISHED = ["--epochs=100000"]


# --------------------------------------------------------------------------------------------------
# Damage


def rewrite(pattern: str, change: Callable[[bytes], bytes]) -> Change:
    """Change the bytes of a file."""

    def apply(around: Surroundings) -> None:
        path = found(around.folder, pattern)
        path.write_bytes(change(path.read_bytes()))

    return apply


def remove(pattern: str) -> Change:
    """Remove a file or a folder."""

    def apply(around: Surroundings) -> None:
        path = found(around.folder, pattern)
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return apply


def flipped(place: Callable[[bytes], int]) -> Callable[[bytes], bytes]:
    """Flip one bit of the byte at a place."""

    def flip(content: bytes) -> bytes:
        i = place(content)
        return content[:i] + bytes([content[i] ^ 4]) + content[i + 1 :]

    return flip


def _middle_of_part(content: bytes, ending: str) -> int:
    """The middle of a part of a zip archive."""
    with tempfile.TemporaryFile() as file:
        file.write(content)
        with zipfile.ZipFile(file) as archive:
            parts = [part for part in archive.infolist() if part.filename.endswith(ending)]
        part = max(parts, key=lambda part: part.file_size)
        file.seek(part.header_offset + 26)
        sizes = file.read(4)
    name, extra = int.from_bytes(sizes[:2], "little"), int.from_bytes(sizes[2:], "little")
    return part.header_offset + 30 + name + extra + part.file_size // 2


def _stock_pickle() -> bytes:
    """What RecBole's own checkpoints are: a pickle of objects of its classes."""
    with tempfile.TemporaryFile() as file:
        torch.save({"config": Surroundings(Path(), ExitStack()).folder, "state_dict": {}}, file)
        file.seek(0)
        return file.read()


def _zip() -> bytes:
    with tempfile.TemporaryFile() as file:
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("a.txt", "a")
        file.seek(0)
        return file.read()


def _plain(content: Any) -> bytes:
    with tempfile.TemporaryFile() as file:
        torch.save(content, file)
        file.seek(0)
        return file.read()


PNG = bytes.fromhex("89504e470d0a1a0a0000000d49484452") + bytes(50)
TEXT = b"epoch 1: loss 0.5\n"
DAMAGED = {
    "truncated": lambda content: content[: len(content) // 2],
    "empty": lambda _: b"",
    "a bit flipped in the weights": flipped(lambda content: _middle_of_part(content, "/0")),
    "a bit flipped in its pickle": flipped(lambda content: _middle_of_part(content, "data.pkl")),
    "a bit flipped in its directory": flipped(lambda content: content.rindex(b"PK\1\2") + 17),
    "a bit flipped in its end": flipped(lambda content: content.rindex(b"PK\6\6") + 49),
    "a bit flipped in its count of disks": flipped(lambda c: c.rindex(b"PK\6\7") + 16),
}
FOREIGN = {
    "a PNG": lambda _: PNG,
    "a text": lambda _: TEXT,
    "a zip archive": lambda _: _zip(),
    "a bare pickle": lambda _: pickle.dumps({"a": Path("b")}),
    "a checkpoint of stock RecBole": lambda _: _stock_pickle(),
    "tensors of another program": lambda _: _plain({"w": torch.zeros(3)}),
    "another program's checkpoint": lambda _: _plain({"config": {"a": 1}, "state_dict": {}}),
}
FEW = ("truncated", "a bit flipped in the weights", "a PNG", "another program's checkpoint")
REFUSED = "damaged|more than plain values|holds no model|its config is not one of"


def of_another_version(pattern: str) -> Change:
    """Let a file have been written by another version of this package."""

    def apply(around: Surroundings) -> None:
        path = found(around.folder, pattern)
        content = torch.load(path, weights_only=True)
        content["run_state"]["version"] = "0.0.9"
        torch.save(content, path)

    return apply


def with_a_new_token(around: Surroundings) -> None:
    """Add a row with a token that was not there."""
    with around.rows.open("a", encoding="utf-8") as file:
        file.write("1000\t1\t1\t1\t0.5\t1\n")


def rows_with(columns: dict[str, list[Any]]) -> Change:
    """Write the dataset anew, with some columns as given."""
    return lambda around: write_rows(around.rows, 1, columns)


def file_of(name: str, content: bytes) -> Change:
    """Write a file, over what lies there."""

    def apply(around: Surroundings) -> None:
        (around.folder / name).write_bytes(content)

    return apply


def in_turn(*changes: Change) -> Change:
    """Several changes."""

    def apply(around: Surroundings) -> None:
        for change in changes:
            change(around)

    return apply


# --------------------------------------------------------------------------------------------------
# Disks


def mount(folder: Path, options: str) -> bool:
    """Mount a file system in memory; whether that is allowed."""
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    try:
        return subprocess.run(command, check=False, capture_output=True).returncode == 0
    except OSError:
        return False


def unmount(folder: Path) -> None:
    """Undo :func:`mount`."""
    subprocess.run(["umount", str(folder)], check=True, capture_output=True)


def disk(name: str, options: str = "", free_kib: int | None = None) -> Change:
    """Let a folder, with what lies in it, be a disk of its own, with so much free space."""

    def apply(around: Surroundings) -> None:
        folder, kept = around.folder / name, around.folder.with_suffix(".kept")
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copytree(folder, kept)
        pages = sum(-(-path.stat().st_size // 4096) for path in kept.rglob("*") if path.is_file())
        size = "" if free_kib is None else f"size={pages * 4 + free_kib}k"
        if mount(folder, size):
            around.undo.callback(unmount, folder)
            shutil.copytree(kept, folder, dirs_exist_ok=True)
            if options:
                subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)
        else:
            around.limit_kib = free_kib
        shutil.rmtree(kept)

    return apply


def full(name: str, free_kib: int = LIMIT_KIB) -> Change:
    """A full disk."""
    return disk(name, free_kib=free_kib)


def may_mount() -> bool:
    """Whether this process can mount."""
    with tempfile.TemporaryDirectory() as folder:
        allowed = mount(Path(folder), "size=64k")
        if allowed:
            unmount(Path(folder))
        return allowed


def full_for_a_checkpoint(around: Surroundings) -> None:
    """A disk with less space than a checkpoint takes."""
    full("saved", around.checkpoint.stat().st_size // 2048)(around)


def fill(name: str) -> Change:
    """Fill a small disk to its last byte."""

    def apply(around: Surroundings) -> None:
        with contextlib.suppress(OSError), (around.folder / name / "fill").open("wb") as file:
            file.write(bytes(1 << 20))

    return apply


# --------------------------------------------------------------------------------------------------
# The inputs

NO_SPACE = "No space left on device|File too large|no space is left"
IN_THE_WAY = "exists|Not a directory|Read-only|there is no folder"


def cases(mounts: bool) -> Iterator[Case]:
    """All bad inputs."""
    yield from checkpoints()
    yield from unfinished_runs()
    yield from disks(mounts)
    yield from data()
    yield from settings()
    yield from rows_to_score()
    yield Case(
        "Ctrl-C while training",
        run_recbole(*UNFINISHED),
        r"interrupted; the best epoch so far is \d+, with auc .*--resume goes on",
        in_turn(remove("saved")),
        status=130,
        makes=("saved/*",),
        interrupted=True,
    )


def checkpoints() -> Iterator[Case]:
    """Checkpoints that no command may take."""
    best = "saved/*.pth"
    commands = {
        "predict": predict(),
        "export": midpg(
            "export", "--checkpoint", "<saved/*.pth>", "--output", "kept.scorer", "--force"
        ),
        "fold": midpg("fold", "--checkpoint", "<saved/*.pth>", "--output", "kept.pth", "--force"),
        "--resume=FILE": run_recbole(*UNFINISHED, "--resume=<saved/*.pth>"),
    }
    for name, change in {**DAMAGED, **FOREIGN}.items():
        for command, words in commands.items():
            if command in ("predict", "--resume=FILE") or name in FEW:
                yield Case(f"{command}: {name}", words, REFUSED, rewrite(best, change))
    for command, words in commands.items():
        none = [re.sub("<.*>", "saved/none.pth", word) for word in words]
        yield Case(f"{command}: no such checkpoint", none, "there is no such file")
        told = "the field 'user_id' has other tokens"
        yield Case(f"{command}: a token is new in the data", words, told, with_a_new_token)
    no_data = remove(f"dataset/{NAME}")
    for command in ("predict", "export", "fold"):
        yield Case(
            f"{command}: the dataset is gone", commands[command], "dataset", no_data, lines=6
        )
        ragged = rewrite(f"dataset/{NAME}/{NAME}.inter", lambda content: content + b"1\t2\n")
        told = rf"{NAME}\.inter, line {ROWS + 2}: it has 2 columns"
        yield Case(f"{command}: the dataset is damaged", commands[command], told, ragged)
        text = rewrite(
            f"dataset/{NAME}/{NAME}.inter",
            lambda content: content + b"1\t2\t3\t4\tcheap\t1\n",
        )
        told = f"line {ROWS + 2}, column 'price': 'cheap' is not a number"
        yield Case(f"{command}: text among the dataset's numbers", commands[command], told, text)
    yield Case(
        "fold: a model without generator",
        midpg("fold", "--checkpoint", "others/dnn.pth", "--output", "kept.pth", "--force"),
        "it holds a DNN",
    )
    foreign = _plain({"config": {}, "dataset": {}})
    for what, content in (("a PNG", PNG), ("another program's", foreign)):
        change = file_of(f"saved/{NAME}-Dataset.pth", content)
        yield Case(f"saved dataset: {what}", run_recbole(), "saved dataset '", change)
    scorer, words = "others/model.scorer", predict("others/model.scorer")
    for name in ("truncated", "a bit flipped in the weights", "a bit flipped in its pickle"):
        yield Case(f"predict: .scorer, {name}", words, REFUSED, rewrite(scorer, DAMAGED[name]))
    for name in ("dnn", "visits"):
        resume = run_recbole(*UNFINISHED, f"--resume=others/{name}.pth")
        told = {"dnn": "it is of model DNN", "visits": "it is of dataset visits"}[name]
        yield Case(f"--resume=FILE: {told}", resume, told)
    told, version = "it was written by recbole-midpg 0.0.9", of_another_version(best)
    yield Case("--resume=FILE: another version", commands["--resume=FILE"], told, version)


def unfinished_runs() -> Iterator[Case]:
    """Progress and run files that no run may go on from."""
    resume = run_recbole(*UNFINISHED, "--resume")
    progress = run_recbole(*UNFINISHED, "--resume=<saved/*.progress>")
    for name, change in {**DAMAGED, **FOREIGN}.items():
        damage = rewrite("saved/*.progress", change)
        yield Case(f"--resume=FILE.progress: {name}", progress, REFUSED, damage)
        if name in FEW:
            yield Case(f"--resume: .progress {name}", resume, REFUSED, damage)
            yield Case(f"--resume: .pth {name}", resume, REFUSED, rewrite("saved/*.pth", change))
    for name, content in {
        "truncated": b'{"check',
        "empty": b"",
        "a PNG": PNG,
        "a text": TEXT,
        "a number in it": b'{"checkpoint": 5}',
        "a list in it": b"[1]",
    }.items():
        change = rewrite("saved/*.run", lambda _, content=content: content)
        yield Case(f"--resume: .run {name}", resume, r"\.run' is damaged", change)
    flip = flipped(lambda content: content.index(b".pth") - 2)
    told = "the checkpoint of the unfinished run, is not there"
    yield Case("--resume: .run, a bit flipped", resume, told, rewrite("saved/*.run", flip))
    yield Case("--resume: no .run", resume, "no unfinished run of DPG", remove("saved/*.run"))
    yield Case("--resume: no .pth", resume, "no such file", remove("saved/*.pth"))
    yield Case("--resume: nothing saved", resume, "no unfinished run of DPG", remove("saved"))
    none = run_recbole(*UNFINISHED, "--resume=saved/none.progress")
    yield Case("--resume=FILE.progress: no such file", none, "there is no such file")
    told = "the field 'user_id' has other tokens"
    yield Case("--resume: a token is new in the data", resume, told, with_a_new_token)
    for words, what in ((resume, "--resume"), (progress, "--resume=FILE.progress")):
        version = of_another_version("saved/*.progress")
        told = "it was written by recbole-midpg 0.0.9"
        yield Case(f"{what}: another version", words, told, version)
    other = [*progress, "--learning_rate=0.2"]
    yield Case("--resume=FILE.progress: another config", other, "trained with learning_rate: 0.1")
    for word in ("yes", "file.txt", "3"):
        yield Case(f"--resume={word}", run_recbole(f"--resume={word}"), "resume: .*is not allowed")


def disks(mounts: bool) -> Iterator[Case]:
    """Full disks, and folders that cannot be written."""
    train = run_recbole("--epochs=30")
    yield Case("full disk: checkpoint", train, f"output 'saved.*({NO_SPACE})", full("saved"))
    if mounts:
        # Whether the next epoch is the best one decides which of the two files is written.
        told, half = f"output 'saved.*(progress|pth)'.*({NO_SPACE})", full_for_a_checkpoint
        resume = run_recbole(*UNFINISHED, "--resume")
        yield Case("full disk: progress or checkpoint", resume, told, half)
        told, one_place = f"Log: .*ends here .({NO_SPACE})", rows_with({"place:token": [7] * ROWS})
        no_space = in_turn(one_place, full("log", 4), fill("log"))
        yield Case("full disk: log", run_recbole(), told, no_space, status=0, makes=("saved/*",))
        tensorboard = full("log_tensorboard", 4)
        yield Case("full disk: tensorboard", train, NO_SPACE, tensorboard, makes=("saved/*",))
    rows = "\n".join(["user_id,item_id,place,hour,price", *["1,2,3,4,0.5"] * 10_000])
    more = file_of("new.csv", rows.encode())
    to_disk = midpg("predict", "--checkpoint", "<saved/*.pth>", "--input", "new.csv", "--output")
    full_disk = full("disk")
    words = [*to_disk, "disk/kept.csv", "--force"]
    yield Case("full disk: predict", words, NO_SPACE, in_turn(more, full_disk))
    for ending in ("scorer", "pt2"):
        words = midpg(
            "export", "--checkpoint", "<saved/*.pth>", "--output", f"disk/kept.{ending}", "--force"
        )
        yield Case(f"full disk: export .{ending}", words, NO_SPACE, full("disk", 4))
    words = midpg("fold", "--checkpoint", "<saved/*.pth>", "--output", "disk/kept.pth", "--force")
    yield Case("full disk: fold", words, NO_SPACE, full("disk", 4))
    words = midpg("generate", "amazon_electronics_synth", "--rows", "20000", "--output", "disk")
    yield Case("full disk: generate", words, NO_SPACE, full_disk)
    golden = Path(__file__).parents[1] / "tests/atomic_data_scripts/golden/amazon_electronics.csv"
    rows_of_raw = golden.read_bytes().splitlines(keepends=True)
    raw = file_of("raw.csv", rows_of_raw[0] + (b"".join(rows_of_raw[1:]) + b"\n") * 2000)
    convert = ["prepare", "amazon_electronics", "--raw", "raw.csv", "--output"]
    words, new = midpg(*convert, "disk"), ("disk/*/*.part", "disk/*/*raw*")
    yield Case("full disk: conversion", words, NO_SPACE, in_turn(raw, full_disk), makes=new)
    words = run_recbole("--dataset_cache_dir=disk")
    told = f"Dataset cache: .*is not written.*({NO_SPACE})"
    yield Case("full disk: cache", words, told, full_disk, status=0, makes=("saved/*", "disk/*/*"))
    words = run_recbole("--save_dataset=True")
    yield Case("full disk: saved dataset", words, NO_SPACE, full("saved"))

    def in_the_way(name: str) -> Iterator[tuple[str, Change]]:
        def file_instead(around: Surroundings) -> None:
            shutil.rmtree(around.folder / name, ignore_errors=True)
            (around.folder / name).write_bytes(b"in the way")

        yield "a file in its place", file_instead
        if mounts:
            yield "read-only", disk(name, "ro")

    for folder, words in {
        "saved": train,
        "log": train,
        "log_tensorboard": train,
        "disk": [*to_disk, "disk/kept.csv", "--force"],
    }.items():
        for how, change in in_the_way(folder):
            new = ("saved/*",) if folder.startswith("log") else ()
            yield Case(f"folder {folder}: {how}", words, IN_THE_WAY, change, makes=new)
    for command, words in {
        "export": midpg(
            "export", "--checkpoint", "<saved/*.pth>", "--output", "disk/kept.scorer", "--force"
        ),
        "fold": midpg(
            "fold", "--checkpoint", "<saved/*.pth>", "--output", "disk/kept.pth", "--force"
        ),
        "generate": midpg("generate", "iaac_synth", "--rows", "5000", "--output", "disk"),
        "conversion": midpg(*convert, "disk"),
        "tune": midpg(
            *f"tune --model=DNN --dataset={NAME} --space=s.hyper --trials=1".split(),
            "--config_files=settings.yaml",
        ),
    }.items():
        space = file_of("s.hyper", b"embedding_size choice [4]\n")
        for how, change in in_the_way("tuning" if command == "tune" else "disk"):
            both = in_turn(file_of("raw.csv", golden.read_bytes()), space, change)
            yield Case(f"output of {command}: {how}", words, IN_THE_WAY, both)
    for how, change in in_the_way("disk"):
        words, told = run_recbole("--dataset_cache_dir=disk"), "Dataset cache: .*is not written"
        new = ("saved/*",)
        yield Case(f"dataset cache: {how}", words, told, change, status=0, makes=new)


def data() -> Iterator[Case]:
    """Datasets that cannot be trained on, or not to be trusted."""
    train = run_recbole()
    inter, half = f"dataset/{NAME}/{NAME}.inter", ROWS // 2
    not_finite = "the loss .*is not finite"
    yield Case("a huge learning rate", run_recbole("--learning_rate=1e30"), not_finite)
    words = run_recbole("--model=DeepFM", "--learning_rate=1e30")
    yield Case("a huge learning rate, RecBole's model", words, not_finite)
    for number in ("inf", "-inf", "1e400"):
        change = rows_with({"price:float": [number, *[0.5] * (ROWS - 1)]})
        told = "numerical_features: 1 of the 1,280 rows' values of 'price' is not finite"
        yield Case(f"{number} among numbers", train, told, change)
    nan = rows_with({"price:float": ["nan", *[0.5] * (ROWS - 1)]})
    yield Case("NaN among numbers, which is missing", train, "", nan, status=0, makes=("saved/*",))
    told = "rows of the training split are neither 0 nor 1"
    for label in ("3", "-1", "0.5", "inf", ""):
        labels = [label, 1, 0, 1] * (half // 2)
        yield Case(f"label {label!r}", train, told, rows_with({"label:float": labels}))
    told = "label 'label': it is 1 in all 1,280 rows of the training split"
    yield Case("one label in training", train, told, rows_with({"label:float": [1] * ROWS}))
    in_order = ["--eval_args={split: {RS: [0.8,0.1,0.1]}, order: TO, group_by: ~, mode: labeled}"]
    in_order += ["--TIME_FIELD=time"]
    time_column = {"time:float": list(range(ROWS))}
    judged = ROWS // 10
    for name, first in (("validation", 2), ("test", 1)):
        labels = [0, 1] * half
        labels[ROWS - first * judged : ROWS - (first - 1) * judged] = [0] * judged
        told = f"it is 0 in all {judged} rows of the {name} split, where AUC is not defined"
        change = rows_with({"label:float": labels, **time_column})
        yield Case(
            f"one label in the {name} split",
            run_recbole(*in_order, "--valid_metric=LogLoss"),
            told,
            change,
            status=0,
            makes=("saved/*",),
        )
    labels = [0, 1] * half
    labels[ROWS - 2 * judged : ROWS - judged] = [0] * judged
    change = rows_with({"label:float": labels, **time_column})
    told = "validation: AUC is not defined in any epoch"
    yield Case("one label in validation, judged by AUC", run_recbole(*in_order), told, change,
               makes=("saved/*",))  # fmt: skip
    for shares, name in (("0.8,0.2,0", "test"), ("0,0.5,0.5", "tra")):
        words = run_recbole(
            f"--eval_args={{split: {{RS: [{shares}]}}, order: RO, group_by: ~, mode: labeled}}"
        )
        yield Case(f"a split of {shares}", words, f"the {name}.* split is empty|eval_args")
    one = rows_with({"place:token": [7] * ROWS})
    told = "scenario_fields: 'place' has one value"
    yield Case("a scenario field of one value", train, told, one, status=0, makes=("saved/*",))
    leak = rows_with({"label:float": [0, 1] * half, "clicked:token": [5, 6] * half})
    told = r"The field 'clicked' alone predicts the label with an AUC of (0\.99|1\.0)"
    yield Case("a field that leaks the label", train, told, leak, status=0, makes=("saved/*",))

    def atomic(change: Callable[[bytes], bytes]) -> Change:
        return rewrite(inter, change)

    place = f"{NAME}.inter, line"
    for what, change, told in (
        ("a line with a value less", lambda c: c + b"1\t2\t3\t4\t0.5\n", f"{place} 1602: it has 5"),
        ("a line with a value more", lambda c: c + b"1\t2\t3\t4\t0.5\t1\t9\n", f"{place} 1602: "),
        ("a line of blanks", lambda c: c + b"   \n", f"{place} 1602: it has 1"),
        ("no header", lambda c: c.split(b"\n", 1)[1], f"{place} 1: "),
        ("a header without types", lambda c: c.replace(b":token", b""), f"{place} 1: column"),
        (
            "an unknown type",
            lambda c: c.replace(b":float", b":double"),
            f"{place} 1: .*price:double",
        ),
        ("no user column", lambda c: c.replace(b"user_id", b"user"), "'user_id' is not a column"),
        ("a column twice", lambda c: c.replace(b"hour:", b"place:"), f"{place} 1: .*twice"),
        ("another separator", lambda c: c.replace(b"\t", b","), f"{place} 1: "),
        ("not UTF-8", lambda c: c + b"1\t2\t\xff\t4\t0.5\t1\n", f"{place} 1602: it is not text"),
        ("UTF-16", lambda c: c.decode().encode("utf-16"), f"{place} 1: "),
        ("an empty file", lambda _: b"", rf"{NAME}\.inter"),
        ("a header and no rows", lambda c: c.split(b"\n")[0] + b"\n", f"{place} 1: no row follows"),
        ("one row", lambda c: b"\n".join(c.split(b"\n")[:2]) + b"\n", "is empty|in all 1 rows"),
        ("text among numbers", lambda c: c + b"1\t2\t3\t4\tcheap\t1\n", f"{place} 1602.*'cheap'"),
        ("a PNG", lambda _: PNG, f"{place} 1: "),
    ):
        yield Case(f"atomic file: {what}", train, told, atomic(change))
    yield Case("atomic file: gone", train, f"no {NAME}.inter", remove(inter))
    folder = in_turn(remove(inter), lambda around: around.rows.mkdir())
    yield Case("atomic file: a folder", train, f"{NAME}.inter", folder)


def settings() -> Iterator[Case]:
    """Keys and values that cannot be."""
    for word, told, lines in (
        ("--betta=1", "betta: unknown config key.*did you mean 'beta'", 1),
        ("--model=DPQ", "'DPQ'.*did you mean 'DPG'", 4),
        ("--dataset=clickz", "'clickz' is not known.*did you mean 'clicks'", 5),
        ("--scenario_fields=[plaice]", "'plaice' is not a field.*did you mean 'place'", 1),
        ("--scenario_fields=price", "'price' is of type float", 1),
        ("--scenario_fields=3", "scenario_fields: 3 is not allowed", 1),
        ("--scenario_id_field=hours", "'hours' is not a field", 1),
        ("--unembedded_fields=[x]", "unembedded_fields: 'x'", 1),
        ("--LABEL_FIELD=lable", "LABEL_FIELD|'lable'", 1),
        ("--USER_ID_FIELD=user", "USER_ID_FIELD|'user'", 1),
        ("--numerical_features=[cost]", "numerical_features|'cost'", 1),
        ("--numerical_features=[place]", "numerical_features|'place'", 1),
        ("--threshold={x: 4}", "threshold: 'x' is not a loaded field", 1),
        ("--threshold=4", "threshold: 4 is not allowed", 1),
        ("--load_col={inter: [user_id]}", "load_col|item_id", 1),
        ("--n=0", "n: 0 is not allowed, expected a whole number of at least 1", 1),
        ("--n=two", "n: 'two' is not allowed", 1),
        ("--n=1.5", "n: 1.5 is not allowed", 1),
        ("--n=1000", "n: 1000", 1),
        ("--n=True", "n: True is not allowed", 1),
        ("--weighting=x", "weighting: 'x' is not allowed", 1),
        ("--mlp_hidden_size=16", "mlp_hidden_size: 16 is not allowed", 1),
        ("--dropout_prob=2", "dropout_prob: 2 is not allowed", 1),
        ("--embedding_size=[4]", r"embedding_size: \[4\] is not allowed", 1),
        ("--dataset_cache=maybe", "dataset_cache: 'maybe' is not allowed", 1),
        ("--sparse_updates=3", "sparse_updates: 3 is not allowed", 1),
        ("--metrics=[AUCC]", "AUCC", 1),
        ("--valid_metric=Recall@x", "valid_metric", 1),
        ("--epochs=many", "epochs: 'many' is not allowed", 1),
        ("--epochs=-1", "epochs: -1 is not allowed", 1),
        ("--epochs=1.5", "epochs: 1.5 is not allowed", 1),
        ("--train_batch_size=0", "train_batch_size: 0 is not allowed", 1),
        ("--train_batch_size=big", "train_batch_size: 'big' is not allowed", 1),
        ("--eval_batch_size=-4", "eval_batch_size: -4 is not allowed", 1),
        ("--learning_rate=fast", "learning_rate: 'fast' is not allowed", 1),
        ("--learning_rate=-1", "learning_rate: -1 is not allowed", 1),
        ("--learning_rate=nan", "learning_rate: .*nan.* is not allowed", 1),
        ("--learner=adamm", "learner: 'adamm' is not allowed", 1),
        ("--stopping_step=x", "stopping_step: 'x' is not allowed", 1),
        ("--eval_step=x", "eval_step: 'x' is not allowed", 1),
        ("--seed=x", "seed: 'x' is not allowed", 1),
        ("--weight_decay=x", "weight_decay: 'x' is not allowed", 1),
        ("--clip_grad_norm=5", "clip_grad_norm", 1),
        ("--worker=-1", "worker: -1 is not allowed", 1),
        ("--state=LOUD", "state: 'LOUD' is not allowed", 1),
        ("--eval_args=5", "eval_args", 1),
        ("--eval_args={split: {RS: [8,1]}, order: RO, group_by: ~, mode: labeled}", "eval_args", 1),
        (
            "--eval_args={split: {XX: [8,1,1]}, order: RO, group_by: ~, mode: labeled}",
            "eval_args",
            1,
        ),
        (
            "--eval_args={split: {RS: [8,1,1]}, order: QQ, group_by: ~, mode: labeled}",
            "eval_args",
            1,
        ),
        (
            "--eval_args={split: {RS: [8,1,1]}, order: TO, group_by: ~, mode: labeled}",
            "eval_args|timestamp",
            1,
        ),
        ("--checkpoint_dir=5", "checkpoint_dir", 1),
        ("--data_path=none", f"folder none/{NAME}", 5),
        ("--nproc=0", "nproc: 0 is not allowed", 1),
        ("--nproc=x", "nproc: 'x' is not allowed", 1),
        ("--beta", "argument '--beta': a value is missing", 1),
        ("beta", "argument 'beta': expected --key=value", 1),
        ("--config_files=none.yaml", "config file 'none.yaml': No such file", 1),
    ):
        start = ["-m", "recbole_midpg"] if "config_files" in word else run_recbole()
        yield Case(word, [*start, word], told, lines=lines)
    for what, content, told in (
        ("broken", b"a: [1,\nb: 2\n", "config file 'settings.yaml', line 3: "),
        ("of a list", b"- a\n- b\n", "expected lines of the form key: value"),
        ("of a word", b"a", "expected lines of the form key: value"),
        ("with a number for a key", b"1: 2\n", "expected lines of the form key: value"),
        ("that is not UTF-8", b"a: \xff\n", "it is not UTF-8 text"),
        ("with a tab", b"a:\n\tb: 1\n", "config file 'settings.yaml', line 2: "),
        ("that wants code run", b"n: !!python/object/apply:os.getcwd []\n", "line 1: "),
        ("with a control character", b"a: \x01\n", "config file 'settings.yaml'"),
    ):
        yield Case(
            f"YAML {what}",
            run_recbole(),
            told,
            rewrite("settings.yaml", lambda _, content=content: content),
        )


def rows_to_score() -> Iterator[Case]:
    """What ``predict`` cannot score, and what it can although training has not seen it."""
    header, row = b"user_id,item_id,place,hour,price\n", b"1,2,3,4,0.5\n"
    for what, content, told in (
        ("a column is missing", b"user_id,place\n1,2\n", r"new\.csv, line 1: column 'item_id' is"),
        ("an empty file", b"", r"new\.csv"),
        ("a line with a value less", header + row + b"1,2,3,4\n", r"new\.csv, line 3"),
        ("a line with a value more", header + row + b"1,2,3,4,5,6\n", r"new\.csv, line 3"),
        ("an empty line between", header + row + b"\n" + row, r"new\.csv, line 3"),
        ("not UTF-8", header + b"\xff,2,3,4,0.5\n", r"new\.csv"),
        ("text for a number", header + b"1,2,3,4,cheap\n", r"new\.csv, line 2, .*'cheap'"),
        ("infinity for a number", header + b"1,2,3,4,inf\n", r"new\.csv, line 2, .*'inf'"),
        ("an open quote", header + b'"1,2,3,4,0.5\n', r"new\.csv"),
        ("a column twice", b"user_id," + header + b"1," + row, r"new\.csv, line 1"),
        ("a PNG", PNG, r"new\.csv"),
    ):
        yield Case(f"predict: {what}", predict(), told, file_of("new.csv", content))
    yield Case("predict: no such input", predict(rows="none.csv"), "input 'none.csv'")
    yield Case("predict: a folder", predict(rows="saved"), "input 'saved'|saved")
    named = in_turn(file_of("new.txt", header + row))
    yield Case("predict: an unknown ending", predict(rows="new.txt"), "new.txt", named)
    to_itself = midpg(
        "predict", "--checkpoint", "<saved/*.pth>", "--input", "new.csv", "--output", "new.csv"
    )
    yield Case("predict: onto its input", to_itself, "it is --input")
    keep = [*predict(), "--keep", "user"]
    yield Case("predict: --keep of no column", keep, "--keep: 'user' is not a column.*'user_id'")
    scored = midpg(
        "predict", "--checkpoint", "<saved/*.pth>", "--input", "new.csv", "--output", "made.csv"
    )
    for what, content, told in (
        ("an unknown scenario", header + b"1,2,moon,4,0.5\n", "made.csv: 1 scores"),
        ("an unknown user, nothing else", header + b"nobody,,,,\n", "made.csv: 1 scores"),
        ("a header alone", header, "made.csv: 0 scores"),
    ):
        change = file_of("new.csv", content)
        yield Case(f"predict: {what}", scored, told, change, status=0, makes=("made.csv",))


# --------------------------------------------------------------------------------------------------
# Running them


@dataclass(frozen=True)
class Outcome:
    """What came of an input: status, what was said, what became of files, what is wrong."""

    case: Case
    status: int
    said: str
    files: str
    wrong: str


def digests(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file below a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def outcome_of(case: Case, template: Path, work: Path) -> Outcome:
    """Type an input in a copy of the template."""
    folder = Path(tempfile.mkdtemp(dir=work))
    shutil.copytree(template, folder, dirs_exist_ok=True)
    with ExitStack() as undo:
        around = Surroundings(folder, undo)
        case.change(around)
        before = digests(folder)
        process = start(case.words, around)
        try:
            if case.interrupted:
                output, error = interrupt_when(
                    process, lambda: any(folder.glob("saved/*.progress"))
                )
            else:
                output, error = process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            output, error = process.communicate()
            error += f"\nit did not end in {SECONDS} s"
        after = digests(folder)
    shutil.rmtree(folder)
    changed = [name for name, digest in before.items() if after.get(name) != digest]
    new = [
        name
        for name in after
        if name not in before
        and name.partition("/")[0] not in LOGS
        and not any(Path(name).match(pattern) for pattern in case.makes)
    ]
    files = "; ".join([f"CHANGED {name}" for name in changed] + [f"NEW {name}" for name in new])
    said, wrong = judged(case, process.returncode, output, error)
    if files:
        wrong.append("files")
    return Outcome(case, process.returncode, said, files or "unchanged", ", ".join(wrong))


def judged(case: Case, status: int, output: str, error: str) -> tuple[str, list[str]]:
    """What a command said that matters, and what is wrong with it."""
    lines = error.strip().splitlines()
    logged = [line for line in lines if LOG_LINE.match(line)]
    others = [line for line in lines if line not in logged and not READ_LINE.match(line)]
    wrong = []
    if status != case.status:
        wrong.append(f"status {case.status} expected")
    if "Traceback" in error:
        wrong.append("a traceback")
    if case.status == 0:
        told = [line for line in [*logged, *output.splitlines()] if re.search(case.says, line)]
        said = LOG_LINE.sub("", told[0]) if told else " / ".join(others[-1:])
        if case.says and not told:
            wrong.append("no warning")
        if others:
            wrong.append("more than a log on stderr")
        return said or "nothing", wrong
    sentences = [line for line in others if re.match(r"[\w-]+: (error: |interrupted)", line)]
    said = " / ".join(others) if len(others) <= case.lines else others[-1]
    if len(sentences) != 1:
        wrong.append("no sentence" if not sentences else "several sentences")
    elif not re.search(case.says, sentences[0]):
        wrong.append("another sentence")
    elif not re.search(r"[.?]\)?$", others[-1]):
        wrong.append("an unfinished sentence")
    if len(others) > case.lines:
        wrong.append(f"{len(others)} lines on stderr")
    return said, wrong


def row_of(outcome: Outcome) -> str:
    """A line of the table."""
    said = re.sub(r"^[\w-]+: error: ", "", outcome.said)
    said = said if len(said) <= 130 else f"{said[:127]}..."
    cells = (
        outcome.case.what,
        str(outcome.status),
        said,
        outcome.files,
        f"NOT: {outcome.wrong}" if outcome.wrong else "as it should",
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def main() -> int:
    """Type them all and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--jobs", type=int, default=2, help="commands at a time")
    parser.add_argument("--only", default="", help="a pattern of the inputs to type")
    options = parser.parse_args()
    mounts = may_mount()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        template = Path(name) / "template"
        template.mkdir()
        make_template(template)
        chosen = [case for case in cases(mounts) if re.search(options.only, case.what)]
        print("| input | status | said | files | verdict |\n|---|---|---|---|---|")
        wrong = 0
        with ThreadPoolExecutor(options.jobs) as threads:
            for outcome in threads.map(lambda case: outcome_of(case, template, Path(name)), chosen):
                print(row_of(outcome), flush=True)
                wrong += bool(outcome.wrong)
    full_disk = "a mounted file system" if mounts else "a limit on the size of files"
    seconds = time.monotonic() - begun
    print(f"\n{len(chosen)} inputs in {seconds:.0f} s, {wrong} not as they should be; ", end="")
    print(f"the full disk was {full_disk}.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
