"""The options that say what the columns of a log mean."""

from __future__ import annotations

from typing import Any

LOG_OPTIONS = (
    *("label", "user", "item", "scenario", "time", "positive", "given", "outcome", "multi"),
    *("number", "token", "drop", "delimiter", "no_quotes", "encoding", "time_format", "zone"),
    "missing",
)
"""The names of the options, each ``None`` where it is not typed."""


def add_log_options(parser: Any) -> None:
    """Add the options; see :class:`~recbole_midpg.event_logs.column_kinds.ColumnRoles`."""
    group = parser.add_argument_group(
        "columns of your own log",
        "With --csv or --parquet. Of the other columns the data tell what they are, by rules that "
        "docs/own_logs.md lists; a table says what became of each and why.",
    )
    group.add_argument("--label", metavar="COLUMN", help="what is predicted, 1 or 0, true or false")
    group.add_argument("--user", metavar="COLUMN", help="the user's id")
    group.add_argument("--item", metavar="COLUMN", help="the item's id")
    group.add_argument("--scenario", nargs="+", metavar="COLUMN", help="what makes the scenario")
    group.add_argument("--time", metavar="COLUMN", help="the event's time")
    group.add_argument(
        "--positive",
        nargs="+",
        metavar="VALUE",
        help="the label's values that are 1, all others are 0, as --label rating --positive 4 5",
    )
    group.add_argument(
        "--given",
        metavar="COLUMN",
        help="train on the rows in which this is 1, as --label bought --given clicked",
    )
    group.add_argument(
        "--outcome",
        nargs="+",
        metavar="COLUMN",
        help="other outcomes, 1 or 0: loaded beside the label and never a feature",
    )
    group.add_argument(
        "--multi",
        nargs="+",
        metavar="COLUMN=SEPARATOR",
        help="columns of several values, as tags='|'; SEPARATOR is not needed for Parquet's lists",
    )
    group.add_argument("--number", nargs="+", metavar="COLUMN", help="columns that are numbers")
    group.add_argument("--token", nargs="+", metavar="COLUMN", help="columns that are tokens")
    group.add_argument("--drop", nargs="+", metavar="COLUMN", help="columns to leave out")
    group.add_argument(
        "--delimiter", metavar="CHARACTER", help="between two values (default: ','); '\\t' is a tab"
    )
    group.add_argument(
        "--no-quotes",
        dest="no_quotes",
        action="store_true",
        default=None,
        help="double quotes are parts of values, and do not stand around them",
    )
    group.add_argument("--encoding", help="of CSV files, as latin-1 (default: utf-8)")
    group.add_argument(
        "--time-format",
        dest="time_format",
        help="how --time is written: seconds, milliseconds, microseconds or nanoseconds since "
        "1970, iso, or a pattern as '%%d.%%m.%%Y %%H:%%M' (default: what the data show)",
    )
    group.add_argument(
        "--zone", help="the time zone of times that name none, as Europe/Berlin (default: UTC)"
    )
    group.add_argument(
        "--missing",
        nargs="+",
        metavar="WORD",
        help="words for a missing value, beside NA, null, ...",
    )
