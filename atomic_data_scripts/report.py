"""What a conversion counted, kept beside its files and printed beside the published counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

_SHOWN_SCENARIOS = 40


@dataclass
class ConversionReport:
    """The counts of a conversion.

    Attributes:
        name: the dataset.
        folder: where the atomic files lie.
        files: their names, and that of the rejected lines, if any.
        rows_in: rows of the raw files, bad lines among them.
        rows_out: rows of the ``.inter`` file or files; ``rows_in`` less ``rows_rejected`` and
            those of ``left_out``.
        rows_rejected: lines that were left out, listed in ``NAME.rejected.tsv``.
        left_out: rows that the dataset does not have, by what they are.
        side_rejected: lines of side tables that were left out, listed in the same file.
        side_repeats: lines, by side table, that say something else of a key than an earlier one,
            which counts.
        positives: rows out whose label is positive.
        scenario: the field that ``summary`` lists by value.
        entities: distinct ids by entity, as ``user``.
        tallies: rows and positives by field and value.
        key: the raw column whose values should all differ, if there is one.
        copies: rows that are exact copies of an earlier one of the same key.
        repeats: further rows that repeat an earlier row's key with other content.
        in_inter: attributes that differ between rows of one user or item and so stay in
            ``.inter``: the attribute, and the entity with an id for which it differs.
        published: counts to compare with.
        seconds: how long the conversion took.
        changed: whether files were written; False where they were up to date.
    """

    name: str
    folder: str
    scenario: str
    published: dict[str, int]
    files: list[str] = field(default_factory=list)
    rows_in: int = 0
    rows_out: int = 0
    rows_rejected: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    side_rejected: int = 0
    side_repeats: dict[str, int] = field(default_factory=dict)
    positives: int = 0
    entities: dict[str, int] = field(default_factory=dict)
    tallies: dict[str, dict[str, list[int]]] = field(default_factory=dict)
    key: str | None = None
    copies: int = 0
    repeats: int = 0
    in_inter: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    changed: bool = True

    @property
    def scenarios(self) -> dict[str, list[int]]:
        """Rows and positives of each scenario, the largest first."""
        tally = self.tallies[self.scenario]
        return dict(sorted(tally.items(), key=lambda entry: (-entry[1][0], entry[0])))

    @property
    def counts(self) -> dict[str, int]:
        """All counts by name.

        ``rows``, ``positives``, ``scenarios``; ``users`` and the like; with a key, ``exact
        copies`` and ``repeated keys``; ``FIELD=VALUE``, the rows of a tallied field's value.
        """
        counts = {"rows": self.rows_out}
        counts |= {f"{entity}s": count for entity, count in self.entities.items()}
        counts |= {"scenarios": len(self.scenarios), "positives": self.positives}
        if self.key is not None:
            counts |= {"exact copies": self.copies, "repeated keys": self.repeats}
        for name, tally in self.tallies.items():
            counts |= {f"{name}={value}": rows for value, (rows, _) in tally.items()}
        return counts

    @property
    def differences(self) -> list[str]:
        """One sentence for each count that is not the published one."""
        counts = self.counts
        return [
            f"{name} is {counts.get(name, 0):,}, published are {published:,}"
            for name, published in self.published.items()
            if counts.get(name, 0) != published
        ]

    def summary(self) -> str:
        """The report in lines of text."""
        lines = [self._first_line(), self._balance()]
        lines += [
            f"  {count:,} lines of {name} say something else of an id than an earlier one, which "
            "was taken"
            for name, count in self.side_repeats.items()
        ]
        if self.side_rejected:
            lines.append(f"  {self.side_rejected:,} lines of side tables rejected")
        if self.rows_rejected or self.side_rejected:
            lines.append(f"  rejected lines and reasons: {self._path(f'{self.name}.rejected.tsv')}")
        if self.copies or self.repeats:
            lines.append(
                f"  {self.copies:,} rows are exact copies of an earlier one and {self.repeats:,} "
                f"more repeat its {self.key} (see --duplicates)"
            )
        for name, example in self.in_inter.items():
            lines.append(f"  {name} stays in .inter: it differs within {example}")
        lines += ["", *self._comparison(), "", *self._scenario_table()]
        lines += [f"warning: {difference}" for difference in self.differences]
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """The report as plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ConversionReport:
        """The report that :meth:`to_json` wrote."""
        return cls(**values)

    def _first_line(self) -> str:
        files = ", ".join(self.files)
        if not self.changed:
            return f"{self.name}: up to date in {self.folder}, nothing to do ({files})"
        return f"{self.name}: wrote {files} to {self.folder} in {self.seconds:.1f} s"

    def _balance(self) -> str:
        return (
            f"  {self.rows_in:,} rows in = {self.rows_out:,} rows out "
            f"+ {self.rows_rejected:,} rows rejected"
            + "".join(f" + {count:,} rows {reason}" for reason, count in self.left_out.items())
        )

    def _comparison(self) -> list[str]:
        counts = self.counts
        names = [name for name in counts if "=" not in name]
        names += [name for name in self.published if name not in names]
        if not self.published:
            return _table([(name, f"{counts[name]:,}") for name in names])
        rows = [("", "here", "published")]
        for name in names:
            published = self.published.get(name)
            rows.append(
                (name, f"{counts.get(name, 0):,}", "-" if published is None else f"{published:,}")
            )
        return _table(rows)

    def _scenario_table(self) -> list[str]:
        rows = [(self.scenario, "rows", "positives", "positive rate")]
        for value, (count, positives) in list(self.scenarios.items())[:_SHOWN_SCENARIOS]:
            rows.append((value, f"{count:,}", f"{positives:,}", f"{positives / count:.2%}"))
        rows.append(
            ("all", f"{self.rows_out:,}", f"{self.positives:,}", self._share(self.positives))
        )
        hidden = len(self.scenarios) - _SHOWN_SCENARIOS
        return _table(rows) + ([f"  and {hidden:,} more"] if hidden > 0 else [])

    def _share(self, positives: int) -> str:
        return f"{positives / self.rows_out:.2%}"

    def _path(self, file: str) -> Path:
        return Path(self.folder) / file


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Align columns: the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  "
        + "  ".join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
