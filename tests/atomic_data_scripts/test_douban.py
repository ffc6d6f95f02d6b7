import pytest

from recbole_midpg.atomic_data_scripts import prepare
from recbole_midpg.atomic_data_scripts import raw_file as raw_file_module
from recbole_midpg.atomic_data_scripts.douban import domain, moment, month
from recbole_midpg.common.errors import UsageError

from .raw_files import atomic_rows, rejected_rows
from .recbole_reading import built, column, config_of, load

BOOKS = '"user_id"\t"book_id"\t"rating"\t"labels"\t"comment"\t"time"\t"ID"\n'
FILMS = '"user_id"\t"movie_id"\t"rating"\t"comment"\t"time"\t"extra"\n'
FILES = {
    "bookreviews_cleaned.txt": BOOKS
    + '"7"\t"10"\t"5"\t"a|b"\t"two\r\nlines\tand a ""quote"""\t"2016-05-01"\t"1"\n'
    + '"8"\t"10"\t"3"\t""\t"."\t"2016-05-02 13:30:00"\t"2"\n',
    "musicreviews_cleaned.txt": BOOKS.replace("book", "music")
    + '"7"\t"10"\t"4.0"\t""\t""\t""\t"1"\n',
    "moviereviews_cleaned.txt": FILMS
    + '"9"\t"77"\t""\t""\t"2010-01-01"\t""\n"9"\t"78"\t"2"\t"x"\t"2010-01-01"\t""\n',
    "users_cleaned.txt": '"user_id"\t"living_place"\t"join_time"\t"self_statement"\t"UID"\n'
    '"fz"\t"北京"\t"2010-05-04"\t"multi\nline"\t"7"\n"x"\t""\t"2011-02-03 joined"\t""\t"8"\n',
}


def folder_of(path, files=FILES, **changed):
    for name, text in {**files, **changed}.items():
        target = path / "raw" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8", newline="")
    return path / "raw"


@pytest.mark.parametrize("size", [23, 60, 1 << 18])
def test_reviews_of_three_domains(tmp_path, monkeypatch, size):
    monkeypatch.setattr(raw_file_module, "BLOCK_BYTES", size)
    report = prepare("douban", folder_of(tmp_path), tmp_path)
    rows = [tuple(row.values()) for row in atomic_rows(tmp_path / "douban" / "douban.inter")]
    assert rows == [
        ("7", "b_10", "5", "1462032000", "book"),
        ("8", "b_10", "3", "1462167000", "book"),
        ("9", "m_78", "2", "1262275200", "movie"),
        ("7", "u_10", "4.0", "", "music"),
    ]
    assert atomic_rows(tmp_path / "douban" / "douban.user") == [
        {"user_id": "7", "living_place": "北京", "join_month": "2010-05"},
        {"user_id": "8", "living_place": "unk", "join_month": "2011-02"},
        {"user_id": "9", "living_place": "unk", "join_month": "unk"},
    ]
    assert report.scenarios == {"book": [2, 1], "movie": [1, 0], "music": [1, 1]}
    assert report.left_out == {"without a rating": 1}


def test_ratings_alone(tmp_path):
    raw = folder_of(
        tmp_path,
        {
            "douban_book/ratings.dat": "1\t1\t4\n2\t1\t1\n",
            "douban_music/ratings.dat": "1\t1\t3\n",
            "douban_movie/ratings.dat": "1\t1\t5\n",
        },
    )
    report = prepare("douban_ratings", raw, tmp_path)
    made = atomic_rows(tmp_path / "douban_ratings" / "douban_ratings.inter")
    assert [tuple(row.values()) for row in made] == [
        *(("1", "b_1", "4", "book"), ("2", "b_1", "1", "book")),
        *(("1", "m_1", "5", "movie"), ("1", "u_1", "3", "music")),
    ]
    assert report.entities == {"user": 2, "item": 3}


@pytest.mark.parametrize("name", ["douban", "douban_ratings"])
def test_config(tmp_path, caplog, name):
    lines = [(n % 4, n % 3, 1 + n % 5) for n in range(20)]
    if name == "douban":
        texts = "".join(f'{u}\t{i}\t"{r}"\t""\t""\t\t1\n' for u, i, r in lines)
        files = {**FILES, "bookreviews_cleaned.txt": BOOKS + texts}
    else:
        texts = "".join(f"{u}\t{i}\t{r}\n" for u, i, r in lines)
        files = {"book/ratings.dat": texts, "music/ratings.dat": "1\t1\t5\n" * 2}
    prepare(name, folder_of(tmp_path, files), tmp_path)
    config = config_of(name, tmp_path)
    dataset = load(config, caplog)
    fields = {"user_id", "item_id", "domain", "label"}
    user = {"living_place", "join_month"} if name == "douban" else set()
    assert set(dataset.field2type) == fields | user
    assert config["scenario_id_field"] == "domain"
    assert column(dataset, "label")[:20] == [float(n % 5 >= 3) for n in range(20)]
    assert [part.dataset.inter_num for part in built(config)] == [18, 2, 2]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (BOOKS.replace("book_id", "id"), "line 1: the header lacks column book_id or music_id or"),
        (BOOKS + "1\t2\t6\t\t\t\t1\n", "line 2, column rating: '6' is not allowed, expected whole"),
        (BOOKS + "\t2\t5\t\t\t\t1\n", "column user_id: '' is not allowed, it must not be missing"),
        (BOOKS + "1\t\t5\t\t\t\t1\n", "column item_id: .* it must not be missing"),
        (BOOKS + "1\t2\t5\t\t\tMay\t1\n", "column time: 'May' is not allowed, expected a day as"),
        (BOOKS + '1\t2\t5\t\t"open\t\t1\n', "the quoted value does not end"),
        (BOOKS + "1\t2\t5\n", "line 2: expected 7 columns, found 3"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, text, words):
    raw = folder_of(tmp_path, **{"bookreviews_cleaned.txt": text})
    with pytest.raises(UsageError, match=f"bookreviews_cleaned.txt.*{words}"):
        prepare("douban", raw, tmp_path)


def test_lines_are_those_of_unfolded_values(tmp_path):
    text = FILES["bookreviews_cleaned.txt"] + '"8"\t"10"\t"9"\t""\t"."\t""\t"2"\n'
    raw = folder_of(tmp_path, **{"bookreviews_cleaned.txt": text})
    prepare("douban", raw, tmp_path, on_error="skip")
    rejected = rejected_rows(tmp_path / "douban" / "douban.rejected.tsv")
    assert [row[:2] for row in rejected] == [["bookreviews_cleaned.txt:4", "rating"]]


def test_domains_and_days():
    assert domain("douban_book (of movies)/musicreviews_cleaned.txt") == "music"
    assert moment("1970-01-01 08:00:00") == "0"
    assert month("2010-05") == "2010-05"
    for parse in (moment, month):
        with pytest.raises(ValueError, match="expected a day as"):
            parse("yesterday")
    with pytest.raises(ValueError, match="named after one of book, music, movie"):
        domain("reviews.txt")
