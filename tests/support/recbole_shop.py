"""A small dataset with every file that RecBole's models need, and the command of each model."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recbole.utils import ModelType

NAME = "shop"
N_USERS, N_ITEMS, N_ENTITIES, N_RELATIONS = 60, 40, 70, 3
ROWS_OF_A_USER = 12
VECTOR = 64


def write_shop(data_path: Path, seed: int = 0) -> None:
    """Write random interactions, features, a knowledge graph and vectors as atomic files.

    Args:
        data_path: the folder of all datasets.
        seed: of the random values.
    """
    draw = random.Random(seed)
    folder = data_path / NAME
    folder.mkdir(parents=True, exist_ok=True)

    def write(suffix: str, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        lines = ["\t".join(header), *("\t".join(map(str, row)) for row in rows)]
        (folder / f"{NAME}.{suffix}").write_text("\n".join(lines) + "\n", encoding="utf-8")

    def vector() -> str:
        return " ".join(f"{draw.gauss(0, 1):.3f}" for _ in range(VECTOR))

    pairs = [
        (f"u{user}", f"i{item}")
        for user in range(N_USERS)
        for item in draw.sample(range(N_ITEMS), ROWS_OF_A_USER)
    ]
    write(
        "inter",
        ["user_id:token", "item_id:token", "rating:float", "timestamp:float", "label:float"],
        [(*pair, draw.randint(1, 5), time, draw.randint(0, 1)) for time, pair in enumerate(pairs)],
    )
    write(
        "user",
        ["user_id:token", "age:float", "gender:token"],
        [(f"u{user}", draw.randint(18, 60), draw.choice("mf")) for user in range(N_USERS)],
    )
    write(
        "item",
        ["item_id:token", "class:token_seq", "brand:token", "price:float"],
        [
            (f"i{item}", " ".join(draw.sample("abcd", 2)), draw.choice("xyz"), draw.random())
            for item in range(N_ITEMS)
        ],
    )
    items = [(f"i{item}", f"e{item}") for item in range(N_ITEMS)]
    write("link", ["item_id:token", "entity_id:token"], items)
    write(
        "kg",
        ["head_id:token", "relation_id:token", "tail_id:token"],
        [
            (f"e{head}", f"r{draw.randrange(N_RELATIONS)}", f"e{draw.randrange(N_ENTITIES)}")
            for head in range(N_ENTITIES)
            for _ in range(4)
        ],
    )
    for suffix, letter, count in (("ent", "e", N_ENTITIES), ("rel", "r", N_RELATIONS)):
        write(
            suffix,
            [f"{suffix}_id:token", f"{suffix}_emb:float_seq"],
            [(f"{letter}{number}", vector()) for number in range(count)],
        )


@dataclass(frozen=True)
class Kind:
    """Models that are run by one command.

    Attributes:
        name: names them.
        files: the atomic files that they read.
        arguments: of the command, beside the model and the dataset.
    """

    name: str
    files: str
    arguments: tuple[str, ...] = ()


_SEQUENCE = "inter: [user_id, item_id, timestamp]"
_NO_SAMPLING = "--train_neg_sample_args=~"
GENERAL = Kind("general", ".inter")
CONTEXT = Kind(
    "context-aware",
    ".inter with a label, .user, .item",
    ("--load_col=~", "--numerical_features=[age, price]", "--normalize_all=True"),
)
SEQUENTIAL = Kind("sequential", ".inter with a time", (f"--load_col={{{_SEQUENCE}}}", _NO_SAMPLING))
SEQUENTIAL_SAMPLED = Kind(
    "sequential, with sampled items", ".inter with a time", (f"--load_col={{{_SEQUENCE}}}",)
)
SEQUENTIAL_FEATURES = Kind(
    "sequential, with features",
    ".inter with a time, .item",
    (f"--load_col={{{_SEQUENCE}, item: [item_id, class]}}", _NO_SAMPLING),
)
GRAPH = Kind("knowledge-aware", ".inter, .kg, .link")
_GRAPH_COLUMNS = "kg: [head_id, relation_id, tail_id], link: [item_id, entity_id]"
SEQUENTIAL_VECTORS = Kind(
    "sequential, with vectors of a graph",
    ".inter with a time, .kg, .link, .ent, .rel",
    (
        f"--load_col={{{_SEQUENCE}, {_GRAPH_COLUMNS}, ent: [ent_id, ent_emb], "
        "rel: [rel_id, rel_emb]}",
        _NO_SAMPLING,
        "--additional_feat_suffix=[ent, rel]",
        "--alias_of_entity_id=[ent_id]",
        "--alias_of_relation_id=[rel_id]",
        "--preload_weight={ent_id: ent_emb, rel_id: rel_emb}",
    ),
)

_BY_MODEL = {
    **dict.fromkeys(("DIN", "DIEN", "FPMC", "TransRec"), SEQUENTIAL_SAMPLED),
    **dict.fromkeys(("FDSA", "GRU4RecF", "SASRecF", "S3Rec"), SEQUENTIAL_FEATURES),
    **dict.fromkeys(("GRU4RecKG", "KSR"), SEQUENTIAL_VECTORS),
}
_BY_TYPE = {
    ModelType.GENERAL: GENERAL,
    ModelType.TRADITIONAL: GENERAL,
    ModelType.CONTEXT: CONTEXT,
    ModelType.SEQUENTIAL: SEQUENTIAL,
    ModelType.KNOWLEDGE: GRAPH,
}
# What a model needs beyond its kind, on so small a set.
_OWN_ARGUMENTS = {
    **dict.fromkeys(("GRU4RecCPR", "SASRecCPR"), ("--reranker_CAN_NUM=10",)),
    "NCL": ("--num_clusters=5",),
    "RaCT": ("--pretrain_epochs=1", "--save_step=1"),
    "S3Rec": ("--pretrain_epochs=1", "--save_step=1"),
}
PACKAGES = {
    "LightGBM": ("lightgbm", "lightgbm"),
    "NCL": ("faiss", "faiss-cpu"),
    "XGBoost": ("xgboost", "xgboost"),
}
"""The package that a model needs beside RecBole's own, and what is installed to have it."""


def kind_of(model: str, model_type: ModelType) -> Kind:
    """The kind of a model of RecBole.

    Args:
        model: its name.
        model_type: its ``type``.
    """
    return _BY_MODEL.get(model) or _BY_TYPE[model_type]


def own_arguments(model: str) -> tuple[str, ...]:
    """The arguments that a model needs beyond those of its kind."""
    return _OWN_ARGUMENTS.get(model, ())
