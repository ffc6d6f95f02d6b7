"""MovieLens-1M: ``ratings.dat``, ``users.dat`` and ``movies.dat`` to atomic files.

Run as ``python atomic_data_scripts/movielens_1m.py --raw ml-1m.zip``; the folder of the three files
does as well. With ``--dataset movielens_1m_genre`` the first genre of the film is the scenario.

The label is left to RecBole: ``threshold: {rating: 4}`` makes a row positive where its rating is 4
or 5. The default scenario is ``age_group``, the three domains of public multi-scenario benchmarks:
``0`` for the age codes 1 and 18, ``1`` for 25, ``2`` for 35 and above.

The atomic files that RecBole ships, ``ml-1m.inter``, ``.user`` and ``.item``, make the same
dataset, under the names that users and films have there. In some of them a film's id is its title.
"""

from __future__ import annotations

import re
import sys
from dataclasses import replace

from recbole_midpg.atomic_data_scripts.columns import (
    Column,
    identifier,
    one_of,
    text_or_missing,
    token,
    whole_number,
    whole_number_between,
)
from recbole_midpg.atomic_data_scripts.converter import Converter, Entity, SideTable
from recbole_midpg.atomic_data_scripts.raw_file import Delimited
from recbole_midpg.atomic_data_scripts.script import run
from recbole_midpg.atomic_data_scripts.stars import is_liked, rating
from recbole_midpg.atomic_data_scripts.times import unix_seconds

AGE_GROUPS = {"1": "0", "18": "0", "25": "1", "35": "2", "45": "2", "50": "2", "56": "2"}
"""The domain of each age code, which is the youngest age of its group; 1 stands for under 18."""

GENRES = (
    *("Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary"),
    *("Drama", "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi"),
    *("Thriller", "War", "Western"),
)

_TITLE = re.compile(r"(.*\S) \((\d{4})\)", re.ASCII)
_AGE = one_of(tuple(AGE_GROUPS))
_GENRE = one_of(GENRES)


def age_and_group(value: str) -> str:
    """Turn an age code into itself and its domain."""
    return f"{_AGE(value)}\t{AGE_GROUPS[value]}"


def title_and_year(value: str) -> str:
    """Turn ``Toy Story (1995)`` into the words of the title and the year."""
    found = _TITLE.fullmatch(value)
    if found is None:
        raise ValueError("expected a title with its year, as 'Toy Story (1995)'")
    return f"{text_or_missing(' '.join(found[1].split()))}\t{found[2]}"


def genres(value: str) -> str:
    """Turn ``Comedy|Drama`` or ``Comedy Drama`` into the list and its first genre."""
    names = value.replace("|", " ").split(" ")
    return f"{' '.join(map(_GENRE, names))}\t{names[0]}"


_DAT = Delimited("::", header=False, encoding="latin-1")
_ATOMIC = Delimited("\t", typed=True)
_GENRE_FIELDS = ("genre:token_seq", "first_genre:token")


def _age() -> Column:
    return Column("age", ("age:token", "age_group:token"), age_and_group)


def _table(name: str, form: Delimited, *columns: Column, of: str) -> SideTable:
    key = f"{of}_id"
    return SideTable(name, form, columns, key, of=key, describes=of, complete=True)


def _converter(name: str, scenario: str) -> Converter:
    gender, occupation = one_of(("F", "M")), whole_number_between(0, 20)
    converter = Converter(
        name=name,
        title="MovieLens-1M",
        raw_name="ratings.dat",
        form=_DAT,
        columns=(
            token("user_id", whole_number),
            token("item_id", whole_number),
            Column("rating", ("rating:float",), rating),
            Column("timestamp", ("timestamp:float",), unix_seconds),
        ),
        side_tables=(
            _table(
                "users.dat",
                _DAT,
                Column("user_id", (), whole_number),
                token("gender", gender),
                _age(),
                token("occupation", occupation),
                token("zip_code", text_or_missing),
                of="user",
            ),
            _table(
                "movies.dat",
                _DAT,
                Column("item_id", (), whole_number),
                Column("title", ("movie_title:token_seq", "release_year:token"), title_and_year),
                Column("genres", _GENRE_FIELDS, genres),
                of="item",
            ),
        ),
        entities=(Entity("user", "user_id"), Entity("item", "item_id")),
        label="rating",
        is_positive=is_liked,
        scenario=scenario,
        tallied=("age_group", "first_genre", "gender", "occupation", "rating"),
        homepage="https://grouplens.org/datasets/movielens/1m/",
        licence="for research, by the README: no redistribution, no commercial use; cite Harper "
        "and Konstan, TiiS 2015",
        published={
            "rows": 1_000_209,
            "users": 6_040,
            "items": 3_706,
            "positives": 575_281,
            "age_group=0": 210_747,
            "age_group=1": 395_556,
            "age_group=2": 393_906,
            "gender=F": 246_440,
            "gender=M": 753_769,
        },
    )
    atomic = replace(
        converter,
        raw_name="ml-1m.inter",
        form=_ATOMIC,
        columns=(
            token("user_id", identifier),
            token("item_id", identifier),
            *converter.columns[2:],
        ),
        side_tables=(
            _table(
                "ml-1m.user",
                _ATOMIC,
                Column("user_id", (), identifier),
                _age(),
                token("gender", gender),
                token("occupation", occupation),
                token("zip_code", text_or_missing),
                of="user",
            ),
            _table(
                "ml-1m.item",
                _ATOMIC,
                Column("item_id", (), identifier),
                Column("movie_title", ("movie_title:token_seq",), text_or_missing),
                token("release_year", whole_number_between(1900, 2000)),
                Column("genre", _GENRE_FIELDS, genres),
                of="item",
            ),
        ),
    )
    return replace(converter, other_forms=(atomic,))


CONVERTER = _converter("movielens_1m", "age_group")
CONVERTER_BY_GENRE = _converter("movielens_1m_genre", "first_genre")

if __name__ == "__main__":
    sys.exit(run((CONVERTER, CONVERTER_BY_GENRE)))
