"""``run_recbole --continue_from``: what a model learns from new rows alone."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from recbole_midpg.common.errors import UsageError
from recbole_midpg.daily.learning import learn_file
from recbole_midpg.daily.learning_state import (
    read_learning_state,
    write_learning_state,
)
from recbole_midpg.prediction.scorer import Scorer
from recbole_midpg.training.trainer import ScenarioTrainer
from tests.daily.days import NAMES, day_rows, shop_checkpoint, write_day
from tests.prediction.checkpoints import checkpoint_of
from tests.support.purchases import purchases_config
from tests.support.typed import midpg, run_recbole


@pytest.fixture
def shop(tmp_path):
    return shop_checkpoint(tmp_path)


def test_known_rows_and_moments_stay_where_a_day_does_not_touch_them(shop, tmp_path):
    path = write_day(
        tmp_path / "day2.csv", day_rows(2, users=["new1", "u1"], items=["i1"], rows=10)
    )
    # One batch: by Adam's dense steps another one would move what the first has touched.
    before = read_learning_state(shop)
    learned = learn_file(before, path)
    after = learned.state
    assert learned.added == {"user_id": 1}
    old, new = (s.scoring.fields.scored["user_id"].encoder.ids for s in (before, after))
    assert {token: new[token] for token in old} == old and new["new1"] == len(old)
    (table,) = [
        place
        for place, (name, _) in enumerate(after.scoring.model.named_parameters())
        if name == "token_embedding_table.embedding.weight"
    ]
    steps = [int(s.optimizer["state"][table]["step"]) for s in (before, after)]
    assert steps[1] == steps[0] + 1
    # An untouched row's moments decay, and nothing else happens to them.
    unmet = old["u5"]
    decayed = before.optimizer["state"][table]["exp_avg"][unmet] * 0.9
    torch.testing.assert_close(after.optimizer["state"][table]["exp_avg"][unmet], decayed)


@pytest.mark.parametrize("values", [{}, {"embedding_prior": 50.0}])
def test_the_same_steps_as_a_plain_loop(tmp_path, values):
    """Learning a day is torch's Adam on the day's batches, going on from the checkpoint's.

    A prior of the embeddings is of the training before; the weights so far are in its place.
    """
    shop = shop_checkpoint(tmp_path, **values)
    known = day_rows(3, users=["u1", "u2", "u3"], items=["i1", "i2"], rows=40)
    path = write_day(tmp_path / "day.csv", known)
    before = read_learning_state(shop)
    after = learn_file(before, path).state

    reference = read_learning_state(shop).scoring
    model = reference.model.requires_grad_(True).train()
    adam = torch.optim.Adam(model.parameters(), lr=reference.config["learning_rate"])
    adam.load_state_dict(before.optimizer)
    columns = dict(zip(NAMES, zip(*known, strict=True), strict=True))
    encoded = Scorer(reference).encode(columns)
    labels = torch.tensor([float(label) for label in columns["click"]])
    size = reference.config["train_batch_size"]
    assert size == 16
    for start in range(0, len(known), size):
        batch = {name: column[start : start + size] for name, column in encoded.items()}
        adam.zero_grad()
        loss = model.calculate_loss({**batch, "click": labels[start : start + size]})
        loss.backward()
        adam.step()
    for name, weight in model.state_dict().items():
        torch.testing.assert_close(after.scoring.model.state_dict()[name], weight)


@pytest.mark.parametrize(
    "model", ["MIDPG", "STAR", "PLE", "HMoE", "PEPNet", "AdaptDHM", "AdaSparse", "DeepFM"]
)
def test_every_kind_of_model_learns_a_new_scenario(tmp_path, model):
    checkpoint = shop_checkpoint(tmp_path, model)
    path = write_day(tmp_path / "day2.csv", day_rows(2, channels=["app", "kiosk"], rows=50))
    words = ["--continue_from", checkpoint, "--new_rows", path, "--checkpoint_out", "c.pth"]
    result = run_recbole(f"--model={model}", "--dataset=shop", *words, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "day2.csv: 50 rows learned, new tokens: " in result.stderr
    assert "1 of channel" in result.stderr
    state = read_learning_state(tmp_path / "c.pth")
    assert "kiosk" in state.scoring.fields.scored["channel"].encoder.ids
    assert not (tmp_path / "log_tensorboard").exists()
    rows = day_rows(3, channels=["kiosk"], rows=5)
    columns = dict(zip(NAMES, zip(*rows, strict=True), strict=True))
    scores = Scorer.read(tmp_path / "c.pth").scores(columns)
    assert scores.shape == (5,) and ((scores > 0) & (scores < 1)).all()


def test_all_commands_read_the_file_without_a_dataset(shop, tmp_path):
    day = write_day(tmp_path / "day2.csv", day_rows(2, users=["u1", "new"]))
    words = ["--continue_from", shop, "--new_rows", day, "--checkpoint_out", "c.pth"]
    result = run_recbole(*words, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "day2.csv" in result.stdout and "c.pth: " in result.stdout
    for file in (tmp_path / "data" / "shop").iterdir():
        file.unlink()
    scored = ["--input", day, "--output", "s.csv"]
    assert midpg("predict", "--checkpoint", "c.pth", *scored, cwd=tmp_path).returncode == 0
    assert len((tmp_path / "s.csv").read_text().splitlines()) == 31
    exported = midpg("export", "--checkpoint", "c.pth", "--output", "c.scorer", cwd=tmp_path)
    assert exported.returncode == 0
    again = write_day(tmp_path / "day3.csv", day_rows(3, users=["u1", "new", "newer"]))
    words = ["--continue_from", "c.pth", "--new_rows", again, "--learning_rate", "0.01"]
    result = run_recbole(*words, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    state = read_learning_state(tmp_path / "c-day3.pth")
    assert [file.name for file in state.seen] == ["day2.csv", "day3.csv"]
    assert [file.rows for file in state.seen] == [30, 30]
    assert (state.seen[0].first, state.seen[1].last) == (200.0, 329.0)
    assert state.scoring.config["learning_rate"] == 0.01


def test_features_of_new_users_come_from_their_last_row(shop, tmp_path):
    names = [*NAMES, "age", "job"]
    rows = day_rows(2, users=["new", "u1"], items=["i1"], rows=4)
    features = [("30", "baker"), ("99", "x"), ("31", "job1"), ("99", "x")]
    rows = [(*row, *more) for row, more in zip(rows, features, strict=True)]
    path = write_day(tmp_path / "day2.csv", rows, names)
    before = read_learning_state(shop)
    after = learn_file(before, path)
    assert after.added == {"user_id": 1, "job": 2}
    # The row of u1 brings another job, and the next one that brings none has what training had.
    query = {"user_id": ["new", "u1", "nobody"], "item_id": ["i1"] * 3, "channel": ["app"] * 3}
    query["price"] = ["1"] * 3
    encoded = Scorer(after.state.scoring).encode(query)
    ids = after.state.scoring.fields.scored["job"].encoder.ids
    assert encoded["job"].tolist()[0] == ids["job1"]
    known = Scorer(before.scoring).encode(query)
    for name in ("job", "age"):
        assert torch.equal(encoded[name][1:], known[name][1:])
    assert encoded["age"][0].tolist() != known["age"][2].tolist()


def test_going_on_from_the_file_gives_the_bits_of_going_on_in_memory(shop, tmp_path):
    days = [write_day(tmp_path / f"{n}.csv", day_rows(n, users=["u1", f"n{n}"])) for n in (2, 3)]
    first = learn_file(read_learning_state(shop), days[0]).state
    write_learning_state(first, tmp_path / "first.pth")
    states = [
        learn_file(state, days[1]).state
        for state in (first, read_learning_state(tmp_path / "first.pth"))
    ]
    in_memory, from_file = (state.scoring.model.state_dict() for state in states)
    for name, weight in in_memory.items():
        assert torch.equal(weight, from_file[name]), name


def test_sparse_updates_go_on(tmp_path):
    checkpoint = shop_checkpoint(tmp_path, "MIDPG", sparse_updates="on")
    path = write_day(tmp_path / "2.csv", day_rows(2, users=["u1", "new"], rows=50))
    sparse = learn_file(read_learning_state(checkpoint), path).state
    dense_state = read_learning_state(checkpoint)
    dense_state.scoring.config["sparse_updates"] = "off"
    dense = learn_file(dense_state, path).state
    for name, weight in dense.scoring.model.state_dict().items():
        torch.testing.assert_close(sparse.scoring.model.state_dict()[name], weight)


def test_what_is_wrong_with_new_rows(shop, tmp_path):
    good = day_rows(2)
    state = read_learning_state(shop)

    def told(name, rows, names=NAMES):
        path = write_day(tmp_path / name, rows, names)
        with pytest.raises(UsageError) as error:
            learn_file(state, path)
        return str(error.value)

    assert "column 'click' is missing, the label of each row" in told(
        "a.csv", [row[:-2] for row in good], NAMES[:-2]
    )
    two = [*good[:3], (*good[3][:-2], "2", "9"), *good[4:]]
    assert "b.csv, line 5, column 'click': '2' is not allowed, expected 0 or" in told("b.csv", two)
    empty = [*good[:3], (*good[3][:-2], "", "9")]
    assert "line 5, column 'click': '' is not allowed" in told("c.csv", empty)
    assert "it has no row, expected rows to learn from" in told("d.csv", [])
    assert "column 'channel' is missing" in told(
        "e.csv", [(*row[:2], *row[3:]) for row in good], [*NAMES[:2], *NAMES[3:]]
    )
    priced = [(*good[0][:3], "cheap", *good[0][4:])]
    assert "f.csv, line 2, column 'price': 'cheap' is not a finite number" in told("f.csv", priced)
    path = write_day(tmp_path / "good.csv", good)
    after = learn_file(state, path).state
    copy = write_day(tmp_path / "copy.csv", good)
    with pytest.raises(UsageError, match=r"30 rows were learned already, as good\.csv"):
        learn_file(after, copy)
    earlier = write_day(tmp_path / "earlier.csv", day_rows(1))
    with pytest.raises(UsageError, match=r"begin at 100, before those of good\.csv"):
        learn_file(after, earlier)


def test_columns_that_are_not_used_are_named_once_a_file(tmp_path):
    checkpoint = shop_checkpoint(tmp_path)
    names = [*NAMES, "weather"]
    for number in (2, 3):
        rows = [(*row, "sun") for row in day_rows(number)]
        write_day(tmp_path / f"{number}.csv", rows, names)
    result = run_recbole(f"--continue_from={checkpoint}", "--new_rows=[2.csv,3.csv]", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    told = [line for line in result.stderr.splitlines() if "not used" in line]
    assert told == [f"{number}.csv: columns not used: weather." for number in (2, 3)]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--new_rows=2.csv"], "new_rows: it is for --continue_from"),
        (["--continue_from=C"], "new_rows: it is missing"),
        (["--continue_from=C", "--new_rows=2.csv", "--epochs=3"], "epochs: it does not go with"),
        (["--continue_from=C", "--new_rows=2.csv", "--model=DPG"], "model: 'DPG' is not that of"),
        (["--continue_from=C", "--new_rows=2.csv", "--dataset=x"], "expected 'shop'."),
        (["--continue_from=C", "--new_rows=no.csv"], "input 'no.csv': it cannot be read"),
        (["--continue_from=no.pth", "--new_rows=2.csv"], "there is no such file"),
        (["--continue_from=C", "--new_rows=2.csv", "--learning_rate=0"], "learning_rate: 0"),
        (["--continue_from=C", "--new_rows=2.csv", "--on_error=pass"], "expected stop or skip."),
        (["--continue_from=C", "--new_rows=2.csv", "--on_error=skip"], "'skip' is for raw files"),
        (
            ["--continue_from=C", "--new_rows=2.csv", "--checkpoint_out=kept.pth"],
            "checkpoint_out 'kept.pth': it exists already, expected another name, or --force to",
        ),
        (
            ["--continue_from=C", "--new_rows=2.csv", "--checkpoint_out=2.csv", "--force"],
            "checkpoint_out '2.csv': it is one of new_rows, expected another file.",
        ),
        (
            ["--continue_from=C", "--new_rows=2.csv", "--checkpoint_out=C", "--force"],
            "': it is continue_from, expected another file.",
        ),
    ],
)
def test_wrong_words_are_told(words, sentence, tmp_path):
    checkpoint = shop_checkpoint(tmp_path)
    write_day(tmp_path / "2.csv", day_rows(2))
    (tmp_path / "kept.pth").write_text("kept")
    words = [word.replace("=C", f"={checkpoint}") for word in words]
    result = run_recbole(*words, cwd=tmp_path)
    assert result.returncode == 2 and sentence in result.stderr, result.stderr
    assert "Traceback" not in result.stderr
    assert len(list(Path(checkpoint).parent.glob("*.pth"))) == 1


def test_an_exported_scorer_cannot_learn(shop, tmp_path):
    Scorer.read(shop).save(tmp_path / "m.scorer")
    with pytest.raises(UsageError, match="an exported scorer cannot go on learning"):
        read_learning_state(tmp_path / "m.scorer")


def test_force_writes_over_a_file(shop, tmp_path):
    day = write_day(tmp_path / "2.csv", day_rows(2))
    (tmp_path / "c.pth").write_text("old")
    words = ["--continue_from", shop, "--new_rows", day, "--checkpoint_out", "c.pth"]
    assert run_recbole(*words, "--force", cwd=tmp_path).returncode == 0
    assert read_learning_state(tmp_path / "c.pth").seen[0].rows == 30


def test_a_model_whose_predictions_change_is_refused(tmp_path):
    """FwFM keeps a weight that no checkpoint has."""
    checkpoint = shop_checkpoint(tmp_path, "FwFM")
    day = write_day(tmp_path / "2.csv", day_rows(2, users=["new"]))
    with pytest.raises(UsageError, match="FwFM cannot get new tokens: what it predicts"):
        learn_file(read_learning_state(checkpoint), day)


def test_labels_by_a_threshold(tmp_path):
    values = {"LABEL_FIELD": "label", "threshold": {"click": 1}}
    checkpoint = shop_checkpoint(tmp_path, "DNN", **values)
    rows = [(*row[:4], "3" if row[4] == "1" else "0.5", row[5]) for row in day_rows(2)]
    path = write_day(tmp_path / "2.csv", rows)
    plain = write_day(tmp_path / "plain.csv", day_rows(2))
    states = [learn_file(read_learning_state(checkpoint), day).state for day in (path, plain)]
    first, second = (state.scoring.model.state_dict() for state in states)
    assert all(torch.equal(weight, second[name]) for name, weight in first.items())


def test_an_atomic_file_is_a_csv_file(shop, tmp_path):
    rows = day_rows(2, users=["u1", "new"])
    plain = write_day(tmp_path / "2.csv", rows)
    kinds = ["token", "token", "token", "float", "float", "float"]
    with (tmp_path / "2.inter").open("w", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow([f"{name}:{kind}" for name, kind in zip(NAMES, kinds, strict=True)])
        writer.writerows(rows)
    states = [
        learn_file(read_learning_state(shop), path).state
        for path in (plain, str(tmp_path / "2.inter"))
    ]
    first, second = (state.scoring.model.state_dict() for state in states)
    np.testing.assert_equal(len(first), len(second))
    assert all(torch.equal(weight, second[name]) for name, weight in first.items())


def table_rows(state, field, tokens):
    """The embeddings of a field's tokens, by their ids."""
    scored = state.scoring.fields.scored
    names = state.scoring.model.token_field_names
    place = sum(scored[name].size for name in names[: names.index(field)])
    ids = scored[field].encoder.ids
    table = state.scoring.model.token_embedding_table.embedding.weight
    return torch.stack([table[place + ids[token]] for token in tokens])


def test_rare_tokens_stay_unknown_and_new_ones_stand_behind_them(tmp_path):
    shop = shop_checkpoint(tmp_path, min_count={"user_id": 6, "channel": 2, "tags": 2})
    before = read_learning_state(shop)
    encoder = before.scoring.fields.scored["user_id"].encoder
    rare = [encoder.tokens.texts()[place] for place in np.flatnonzero(encoder.rare.is_rare)]
    frequent = [user for user in encoder.names if user not in rare]
    assert rare and frequent
    users = [rare[0], frequent[0], "new"]
    path = write_day(tmp_path / "day2.csv", day_rows(2, users=users, channels=["app", "kiosk"]))
    learned = learn_file(before, path)
    assert learned.added["user_id"] == learned.added["channel"] == 1
    write_learning_state(learned.state, tmp_path / "c.pth")
    after = read_learning_state(tmp_path / "c.pth")
    grown = after.scoring.fields.scored["user_id"].encoder
    assert grown.tokens.texts()[-2:] == ["[UNK]", "new"] and grown.unknown == encoder.unknown
    assert "[UNK]" not in grown.names and grown.names[-1] == "new"
    # A rare user's rows train the unknown one's embedding, and never its own.
    was, now = (table_rows(state, "user_id", [rare[0], "[UNK]"]) for state in (before, after))
    assert torch.equal(was[0], now[0]) and not torch.equal(was[1], now[1])
    scorer = Scorer(after.scoring)
    columns = {"item_id": ["i1"] * 4, "channel": ["app"] * 4, "price": ["20"] * 4,
               "age": ["30"] * 4, "job": ["job1"] * 4}  # fmt: skip
    rare_user, nobody, new, other = scorer.scores(
        {"user_id": [rare[0], "nobody", "new", frequent[0]], **columns}
    )
    assert rare_user == nobody
    assert len({nobody, new, other}) == 3
    again = write_day(tmp_path / "day3.csv", day_rows(3, users=["new", "newer"]))
    twice = learn_file(after, again).state.scoring.fields.scored["user_id"].encoder
    assert twice.tokens.texts()[-3:] == ["[UNK]", "new", "newer"]
    assert (twice.rare.added, twice.unknown) == (2, encoder.unknown)


def test_a_new_scenario_starts_at_the_mean_of_those_that_were_read(tmp_path, monkeypatch):
    shop = shop_checkpoint(tmp_path, min_count={"job": 12}, scenario_fields=["job"])
    before = read_learning_state(shop)
    encoder = before.scoring.fields.scored["job"].encoder
    rare = [encoder.tokens.texts()[place] for place in np.flatnonzero(encoder.rare.is_rare)]
    read = [*(name for name in encoder.names if name not in rare), *(["[UNK]"] if rare else [])]
    assert rare
    monkeypatch.setattr(ScenarioTrainer, "_train_epoch", lambda *_, **__: None)
    names = [*NAMES, "job"]
    rows = [(*row, "job7") for row in day_rows(2)]
    state = learn_file(before, write_day(tmp_path / "day2.csv", rows, names)).state
    mean = table_rows(before, "job", read).double().mean(0)
    torch.testing.assert_close(table_rows(state, "job", ["job7"])[0].double(), mean)


def purchases_day(path, clicked="clicked"):
    rows = [(f"u{row % 4}", f"i{row % 3}", "app", row % 2, (row % 4) // 3) for row in range(24)]
    return write_day(path, rows, ["user_id", "item_id", "channel", clicked, "bought"])


def test_a_model_of_clicks_and_purchases_learns_both(tmp_path):
    small = {"mlp_hidden_size": [8, 4], "embedding_size": 4, "train_batch_size": 24}
    checkpoint = checkpoint_of(purchases_config("ESMM_DNN", tmp_path, **small)).path
    before = read_learning_state(checkpoint)
    after = learn_file(before, purchases_day(tmp_path / "day.csv")).state
    for tower in ("click", "conversion"):
        old, new = (getattr(s.scoring.model, tower).state_dict() for s in (before, after))
        assert any(not torch.equal(old[name], new[name]) for name in old), tower
    with pytest.raises(UsageError, match=r"column 'clicked' is missing, the clicks to learn from"):
        learn_file(before, purchases_day(tmp_path / "other.csv", clicked="seen"))
