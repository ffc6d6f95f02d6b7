"""Amazon reviews of 2014, 2018 and 2023, one or more categories, to one set of atomic files.

Run as ``python atomic_data_scripts/amazon_reviews.py --raw FOLDER`` with a folder of files such as
``reviews_Beauty_5.json`` (2014), ``Beauty_5.json.gz`` (2018) or ``Beauty.jsonl`` (2023, whose item
is ``parent_asin``), all of one of the three releases.

The label is left to RecBole: ``threshold: {rating: 4}`` makes a row positive where its rating is 4
or 5. The scenario is the category, by the name of the file; it stays in ``.inter``, as items recur
in several. Votes, texts and summaries came with or after the rating and are not read. A user may
review an item twice, and the files of 2018 hold exact copies; see ``--duplicates``.
"""

from __future__ import annotations

import re
import sys
from dataclasses import replace

from recbole_midpg.atomic_data_scripts.columns import (
    FILE,
    MISSING,
    Column,
    identifier,
    one_of,
    word,
)
from recbole_midpg.atomic_data_scripts.converter import Converter, Entity
from recbole_midpg.atomic_data_scripts.json_lines import JsonLines
from recbole_midpg.atomic_data_scripts.script import run
from recbole_midpg.atomic_data_scripts.stars import is_liked, rating
from recbole_midpg.atomic_data_scripts.times import unix_milliseconds, unix_seconds

_NAME = re.compile(r"(?:.*/)?(?:reviews_)?(.+?)(?:_5)?\.jsonl?")
_VERIFIED = one_of(("true", "false"), missing=MISSING)


def category(file_name: str) -> str:
    """The category of a file, as ``Beauty`` of ``reviews_Beauty_5.json``."""
    found = _NAME.fullmatch(file_name)
    if found is None:
        raise ValueError("expected a file's name as reviews_Beauty_5.json or Beauty.jsonl")
    return word(found[1])


def _review(value: str) -> str:
    return value


_CATEGORY = Column("category", ("category:token",), category, made_of=(FILE,))

_FORM_OF_2018 = Converter(
    name="amazon_reviews",
    title="Amazon reviews (2014, 2018 or 2023)",
    raw_name="*.json",
    form=JsonLines(),
    columns=(
        Column("reviewerID", ("user_id:token",), identifier),
        Column("asin", ("item_id:token",), identifier),
        Column("overall", ("rating:float",), rating),
        Column("unixReviewTime", ("timestamp:float",), unix_seconds),
        Column("verified", ("verified:token",), _VERIFIED),
        _CATEGORY,
        Column("review", (), _review, made_of=("reviewerID", "asin", FILE)),
    ),
    entities=(Entity("user", "reviewerID"), Entity("item", "asin")),
    label="overall",
    is_positive=is_liked,
    scenario="category",
    tallied=("rating", "verified"),
    key="review",
    homepage="https://cseweb.ucsd.edu/~jmcauley/datasets/amazon_v2/",
    licence="none is named; cite He and McAuley, WWW 2016 (2014), Ni et al., EMNLP 2019 (2018), or "
    "Hou et al., 2024 (2023)",
)
_FORM_OF_2023 = replace(
    _FORM_OF_2018,
    raw_name="*.jsonl",
    columns=(
        Column("user_id", ("user_id:token",), identifier),
        Column("parent_asin", ("item_id:token",), identifier),
        Column("rating", ("rating:float",), rating),
        Column("timestamp", ("timestamp:float",), unix_milliseconds),
        Column("verified_purchase", ("verified:token",), _VERIFIED),
        _CATEGORY,
        Column("review", (), _review, made_of=("user_id", "parent_asin", FILE)),
    ),
    entities=(Entity("user", "user_id"), Entity("item", "parent_asin")),
    label="rating",
)
CONVERTER = replace(_FORM_OF_2018, other_forms=(_FORM_OF_2023,))

if __name__ == "__main__":
    sys.exit(run((CONVERTER,)))
