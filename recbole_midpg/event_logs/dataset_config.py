"""The config file of a dataset that is made of a log: commented, to be edited."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence

from recbole_midpg.event_logs.column_kinds import ColumnRoles
from recbole_midpg.event_logs.schema import LogSchema

_COMMENT = 36
_WIDTH = 100


def config_text(name: str, schema: LogSchema, roles: ColumnRoles, command: str) -> str:
    """The text of ``dataset_configs/NAME.yaml``.

    Args:
        name: the dataset.
        schema: of the log.
        roles: what the user says of columns.
        command: by which the dataset was made.
    """
    field_of = {raw: field for field, raw in schema.raw_names.items()}
    features = [column for column in schema.columns if column.time is None]
    numbers = [column.field for column in features if column.type.startswith("float")]
    times = [column.field for column in schema.columns if column.time is not None]
    loaded = [*(c.field for c in schema.columns), *(o.field for o in schema.outcomes)]
    scenario = [field_of[column] for column in roles.scenario]
    tokens = [c.field for c in features if c.type == "token" and c.name not in roles.scenario]
    lines = [
        f"# {name}, made of a log by",
        *(f"#   {line}" for line in textwrap.wrap(command, _WIDTH - 4, break_long_words=False)),
        "# Edit it: a change takes effect with the next run. prepare --force alone writes over it.",
        _line("USER_ID_FIELD", _yaml(field_of[roles.user]), "(str) The user."),
        _line("ITEM_ID_FIELD", _yaml(field_of[roles.item]), "(str) The item."),
    ]
    if times:
        lines.append(_line("TIME_FIELD", _yaml(times[0]), "(str) Unix seconds."))
    lines += [
        _line("LABEL_FIELD", _yaml(schema.label.field), "(str) 1 for a positive row, else 0."),
        "load_col:".ljust(_COMMENT) + "# (dict) The columns to load; a feature is left out by "
        "taking it away here.",
        *_listed("inter", [*loaded, schema.label.field]),
        "numerical_features:".ljust(_COMMENT) + "# (list of str) Numbers that the model embeds; "
        "others are loaded and no features.",
        *_listed(None, numbers),
        _line("seq_separator", json.dumps(schema.seq_separator), "(str) Between two elements."),
    ]
    if scenario:
        ids = (roles.user, roles.item)
        tokens = [name for name in tokens if schema.raw_names[name] not in ids]
        others = f" Others that may suit: {', '.join(tokens[:8])}." if tokens else ""
        lines.append(
            _line(
                "scenario_fields",
                _flow(scenario),
                f"(list of str) Fields that make the scenario.{others}",
            )
        )
    else:
        lines.append(
            _line(
                "# scenario_fields",
                _flow(tokens[:1]),
                "(list of str) Fields that make the scenario, which most models here need.",
            )
        )
    lines += [
        "eval_args:".ljust(_COMMENT) + "# (dict) How rows are split and scored.",
        _line("  split", "{RS: [0.8, 0.1, 0.1]}", "(dict) Training, validation and test."),
        _line(
            "  order",
            "TO" if times else "RO",
            "(str) By time: the last rows are the test split; RO is at random."
            if times
            else "(str) In random order, as there is no time.",
        ),
        _line("  group_by", "~", "(str) Over all rows, not user by user."),
        _line("  mode", "labeled", "(str) On the rows' own labels."),
        "train_neg_sample_args: ~".ljust(_COMMENT) + "# (dict) None: every row has its own label.",
        *(
            [
                f"# time_split: {{days: [1, 1], zone: {roles.zone}}}".ljust(_COMMENT - 1)
                + " # (dict) By whole days in place of the line split above, to be taken away "
                "then: the last day is the test split, the day before validates."
            ]
            if times
            else []
        ),
        _line("metrics", "[AUC, LogLoss]", "(list of str) What is reported."),
        _line("valid_metric", "AUC", "(str) Metric of early stopping, on the validation split."),
    ]
    return "\n".join(lines) + "\n"


def _line(key: str, value: str, comment: str) -> str:
    return f"{key}: {value}".ljust(_COMMENT - 1) + f" # {comment}"


def _yaml(text: str) -> str:
    """A name as YAML reads it back: plain where it is a plain word, else in quotes."""
    plain = text.isidentifier() and text.lower() not in _YAML_WORDS
    return text if plain else json.dumps(text, ensure_ascii=False)


_YAML_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null", "none"})


def _flow(names: Sequence[str]) -> str:
    return f"[{', '.join(map(_yaml, names))}]"


def _listed(key: str | None, names: Sequence[str]) -> list[str]:
    """A list in brackets over several lines, under a key or under the line before."""
    start = "  " if key is None else f"  {key}:\n    "
    text = textwrap.fill(
        _flow(names),
        _WIDTH,
        subsequent_indent=" " * 5,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [start + text]
