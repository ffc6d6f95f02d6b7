import shutil
import zipfile

import pytest

from recbole_midpg.atomic_data_scripts import prepare
from recbole_midpg.atomic_data_scripts.movielens_1m import GENRES, genres, title_and_year
from recbole_midpg.common.errors import UsageError
from recbole_midpg.experiments.catalogue import list_datasets
from recbole_midpg.integration.dataset.datasets import require_dataset

from .raw_files import atomic_rows
from .recbole_reading import built, column, config_of, load

FILES = {
    "ratings.dat": "1::10::5::978300760\n1::11::3::978302109\n2::10::4::978301968\n"
    "3::12::1::978300275\n",
    "users.dat": "1::F::1::10::48067\n2::M::56::16::70072-1234\n3::M::25::0::02115\n"
    "4::F::18::1::1\n",
    "movies.dat": "10::Toy Story (1995)::Animation|Children's|Comedy\n"
    "11::Mission: Impossible :-) (1996)::Action\n12::Café au Lait (1993)::Comedy\n"
    "13::Unseen (2000)::Drama\n",
}
ATOMIC = {
    "ml-1m.inter": "user_id:token\titem_id:token\trating:float\ttimestamp:float\r\n"
    "1m_1\tToy Story (1995)\t5\t978300760\r\n1m_2\tOld (1950)\t3\t978302109\r\n",
    "ml-1m.user": "user_id:token\tage:float\tgender:token\toccupation:float\tzip_code:token\r\n"
    "1m_1\t18\tF\t10\t48067\r\n1m_2\t35\tM\t16\t02115\r\n",
    "ml-1m.item": "item_id:token\tmovie_title:token\trelease_year:float\tgenre:token\r\n"
    "Toy Story (1995)\tToy Story\t1995\tAnimation Children's Comedy\r\n"
    "Old (1950)\tOld\t1950\tFilm-Noir\r\n",
}


def write(folder, files, **changed):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in {**files, **changed}.items():
        encoding = "latin-1" if name.endswith("dat") else "utf-8"
        (folder / name).write_text(text, encoding=encoding, newline="")
    return folder


@pytest.fixture
def raw(tmp_path):
    return write(tmp_path / "ml-1m", FILES)


def test_the_three_files_of_grouplens(tmp_path, raw):
    report = prepare("movielens_1m", raw, tmp_path)
    made = tmp_path / "movielens_1m"
    assert atomic_rows(made / "movielens_1m.inter")[1] == {
        **{"user_id": "1", "item_id": "11", "rating": "3", "timestamp": "978302109"},
    }
    assert atomic_rows(made / "movielens_1m.user") == [
        {"user_id": "1", "gender": "F", "age": "1", "age_group": "0"}
        | {"occupation": "10", "zip_code": "48067"},
        {"user_id": "2", "gender": "M", "age": "56", "age_group": "2"}
        | {"occupation": "16", "zip_code": "70072-1234"},
        {"user_id": "3", "gender": "M", "age": "25", "age_group": "1"}
        | {"occupation": "0", "zip_code": "02115"},
    ]
    items = atomic_rows(made / "movielens_1m.item")
    assert items == [
        {"item_id": "10", "movie_title": "Toy Story", "release_year": "1995"}
        | {"genre": "Animation Children's Comedy", "first_genre": "Animation"},
        {"item_id": "11", "movie_title": "Mission: Impossible :-)", "release_year": "1996"}
        | {"genre": "Action", "first_genre": "Action"},
        {"item_id": "12", "movie_title": "Café au Lait", "release_year": "1993"}
        | {"genre": "Comedy", "first_genre": "Comedy"},
    ]
    header = (made / "movielens_1m.item").read_text().splitlines()[0].split("\t")
    assert header == [
        *("item_id:token", "movie_title:token_seq", "release_year:token"),
        *("genre:token_seq", "first_genre:token"),
    ]
    assert report.scenarios == {"0": [2, 1], "1": [1, 0], "2": [1, 1]}
    assert report.entities == {"user": 3, "item": 3}
    assert report.positives == 2


def test_a_zip_archive_and_the_other_scenario(tmp_path, raw):
    archive = shutil.make_archive(str(tmp_path / "ml-1m"), "zip", raw.parent, raw.name)
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr("ml-1m/README", "read me")
    report = prepare("movielens_1m_genre", archive, tmp_path)
    assert report.scenarios == {"Animation": [2, 2], "Action": [1, 0], "Comedy": [1, 0]}


def test_the_atomic_files_that_recbole_ships(tmp_path):
    raw = write(tmp_path / "shipped", ATOMIC)
    report = prepare("movielens_1m", raw, tmp_path)
    made = tmp_path / "movielens_1m"
    assert atomic_rows(made / "movielens_1m.inter") == [
        {"user_id": "1m_1", "item_id": "Toy Story (1995)"}
        | {"rating": "5", "timestamp": "978300760"},
        {"user_id": "1m_2", "item_id": "Old (1950)", "rating": "3", "timestamp": "978302109"},
    ]
    assert [row["age_group"] for row in atomic_rows(made / "movielens_1m.user")] == ["0", "2"]
    assert atomic_rows(made / "movielens_1m.item")[0] == {
        **{"item_id": "Toy Story (1995)", "movie_title": "Toy Story", "release_year": "1995"},
        **{"genre": "Animation Children's Comedy", "first_genre": "Animation"},
    }
    assert report.tallies["first_genre"] == {"Animation": [1, 1], "Film-Noir": [1, 0]}
    kinds = {"age:float": "age:token", "genre:token": "genre:token_seq"}
    for old, new in kinds.items():
        for path in raw.iterdir():
            path.write_text(path.read_text().replace(old, new))
    assert prepare("movielens_1m", raw, tmp_path).rows_out == 2


@pytest.mark.parametrize("scenario", ["age_group", "first_genre"])
def test_config(tmp_path, raw, caplog, scenario):
    name = "movielens_1m" if scenario == "age_group" else "movielens_1m_genre"
    many = "".join(f"{1 + n % 3}::{10 + n % 2}::{1 + n % 5}::978300760\n" for n in range(30))
    prepare(name, write(raw, {"ratings.dat": many}), tmp_path)
    config = config_of(name, tmp_path)
    dataset = load(config, caplog)
    assert set(dataset.field2type) == {
        *("user_id", "item_id", "label", "age_group", "age", "gender", "occupation"),
        *("zip_code", "release_year", "genre", "first_genre"),
    }
    assert config["scenario_id_field"] == scenario
    assert column(dataset, "age_group") == ["0", "2", "1"] * 10
    assert column(dataset, "genre")[0] == ["Animation", "Children's", "Comedy"]
    assert column(dataset, "label") == [float(n % 5 >= 3) for n in range(30)]
    assert [part.dataset.inter_num for part in built(config)] == [24, 3, 3]


@pytest.mark.slow
def test_raw_files_in_their_place_are_found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"ratings.dat, users.dat, movies.dat, from https://.*"):
        config_of("movielens_1m", "dataset", "DNN")
    write(tmp_path / "dataset" / "movielens_1m" / "raw" / "ml-1m", FILES)

    def state():
        entries = list_datasets("dataset", "DNN")
        return next((e.state, e.note) for e in entries if e.name == "movielens_1m")

    assert state() == ("raw file", "")
    require_dataset(config_of("movielens_1m", "dataset", "DNN"))
    assert state() == ("ready", "")
    path = tmp_path / "dataset" / "movielens_1m" / "raw" / "ml-1m" / "users.dat"
    path.write_text(FILES["users.dat"] + "5::F::1::1::1\n")
    assert state()[0] == "stale"
    assert "raw is not what was converted" in state()[1]
    shutil.copytree(path.parent, path.parent.parent / "copy")
    assert state()[0] == "stale"
    assert "raw: holds copy/ratings.dat and ml-1m/ratings.dat, expected one" in state()[1]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("ratings.dat", "1:10:5:978300760\n", "line 1: expected 4 columns, found 1"),
        ("ratings.dat", "1::10::6::978300760\n", "column rating: '6' is not allowed, expected who"),
        ("ratings.dat", "1::10::5::97\n", "column timestamp: '97' is not allowed, expected Unix"),
        ("ratings.dat", "7::10::5::978300760\n", "'7' is not allowed, users.dat has no line of"),
        ("ratings.dat", "1::99::5::978300760\n", "'99' is not allowed, movies.dat has no line of"),
        ("users.dat", "1::F::2::1::1\n", "column age: '2' is not allowed, expected one of 1, 18,"),
        ("users.dat", "1::X::1::1::1\n", "column gender: 'X' is not allowed, expected one of F, M"),
        ("users.dat", "1::F::1::21::1\n", "column occupation: '21' is not allowed, expected a wh"),
        ("movies.dat", "10::Toy Story::Comedy\n", "column title: 'Toy Story' .* with its year"),
        ("movies.dat", "10::A (1995)::Comedi\n", "column genres: .*did you mean 'Comedy'"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, raw, name, text, words):
    with pytest.raises(UsageError, match=f"{raw / name}.*{words}"):
        prepare("movielens_1m", write(raw, {name: text}), tmp_path)
    assert not (tmp_path / "movielens_1m").exists()


def test_titles_and_genres():
    assert title_and_year("Who (1) Am I? (1998) (1999)") == "Who (1) Am I? (1998)\t1999"
    assert len(GENRES) == 18
    assert genres("Film-Noir|Sci-Fi") == "Film-Noir Sci-Fi\tFilm-Noir"
