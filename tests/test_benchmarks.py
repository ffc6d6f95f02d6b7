"""What the scripts of benchmarks/ compute, with small numbers."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from recbole_midpg.generated import bayes_of_split, generate
from recbole_midpg.integration.config.config import build_config

REPOSITORY = Path(__file__).parent.parent


def test_evaluation_by_ours_is_recboles(monkeypatch):
    monkeypatch.syspath_prepend(str(REPOSITORY))
    evaluation = importlib.import_module("benchmarks.evaluation")
    columns = evaluation.random_columns(1000)
    columns["score"] = columns["label"] * 0.5 + 0.25
    evaluations = evaluation.whole_evaluation(columns, 64)
    assert evaluations["ours"]() == evaluations["and scenarios"]() == evaluations["RecBole"]()


@pytest.fixture
def gpu_training(monkeypatch):
    monkeypatch.syspath_prepend(str(REPOSITORY))
    return importlib.import_module("benchmarks.gpu_training")


def run_script(script, monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", [script.__name__, *arguments])
    script.main()


@pytest.mark.parametrize("name", ["gpu_training", "scale", "whole_run"])
def test_without_a_gpu_it_is_refused_in_a_sentence(name, gpu_training, monkeypatch, capsys):
    script = importlib.import_module(f"benchmarks.{name}")
    with pytest.raises(SystemExit) as end:
        run_script(script, monkeypatch, "--device=cuda")
    assert end.value.code == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "error: --device=cuda: torch" in told
    assert "sees no GPU, expected one, or --device=cpu." in told


def test_every_model_is_compared_on_a_gpu_with_graphs_and_without(gpu_training, tmp_path):
    cases = gpu_training.cases_of(gpu_training.OWN + gpu_training.STOCK, "cuda")
    assert len(cases) == len(set(cases)) == 3 + 2 * 21
    assert {case.reference for case in cases} == set(cases[:3])
    by_name = {case.name: case for case in cases}
    settings = {
        name: gpu_training.settings_of(by_name[name], tmp_path, 512, "cuda")
        for name in ("stock DeepFM", "ours DeepFM", "ours DeepFM, graph")
    }
    assert not {"cuda_graph", "gpu_id"} & settings["stock DeepFM"].keys()
    assert settings["ours DeepFM"]["cuda_graph"] is False
    assert settings["ours DeepFM, graph"]["cuda_graph"] is True
    assert settings["ours DeepFM, graph"]["train_batch_size"] == 512
    given = gpu_training.settings_of(
        by_name["ours DNN"], tmp_path, 512, "cuda", ["n=4", "sparse_updates=off"]
    )
    assert (given["n"], given["sparse_updates"], given["cuda_graph"]) == (4, "off", False)
    targets = {name: by_name[name].target(512) for name in by_name}
    assert targets["ours DNN, graph"] == 12
    assert targets["ours STAR, graph"] == targets["ours DCNV2, graph"] == 5
    assert targets["ours MIDPG"] == 1
    assert targets["stock WideDeep"] is None


def test_ratios_are_taken_round_by_round(gpu_training):
    stock = gpu_training.Case("stock", "WideDeep", False)
    ours = gpu_training.Case("ours", "DNN", True)
    turn = gpu_training.Turn
    taken = {
        stock: [turn(10, 1000, 1.0), turn(10, 1000, 2.0), turn(10, 1000, 4.0)],
        ours: [turn(20, 2000, 0.1), turn(20, 2000, 0.4), turn(20, 2000, 0.7)],
    }
    stock_line, line = gpu_training.lines_of(taken, 512)
    assert stock_line == ["512", "stock WideDeep", "100.00 / 200.00 / 400.00", "250 / 500 / 1,000"]
    assert line[1:3] == ["ours DNN, graph", "5.00 / 20.00 / 35.00"]
    assert line[4:] == ["10.00 / 11.43 / 20.00", "WideDeep", "12", "**no**"]


def test_a_side_that_stops_does_not_stop_the_others(gpu_training, capsys):
    class Stops(SideHere):
        def train(self, count):
            raise gpu_training.SideStoppedError("ours STAR stopped with status 2")

    class Trains(SideHere):
        def train(self, count):
            return gpu_training.Turn(10, 1000, 0.1)

    cases = gpu_training.cases_of(["DNN", "STAR"], "cpu")
    sides = {case: (Stops if case.model == "STAR" else Trains)(*"abc", {}, 1) for case in cases}
    lines = gpu_training.lines_of(gpu_training.measure(sides, 2), 512)
    assert [line[1] for line in lines] == ["stock WideDeep", "ours DNN", "ours STAR"]
    assert lines[1][4:] == ["1.00 / 1.00 / 1.00", "WideDeep", "1", "yes"]
    assert lines[2][2:] == ["stopped"]
    assert capsys.readouterr().err == "ours STAR stopped with status 2\n"


class SideHere:
    """A side in this process, which spares the imports; stock RecBole is not stock here."""

    def __init__(self, side, model, dataset, settings, threads):
        sys.argv[1:] = []  # which a side's own process does not have, and RecBole would read
        self._about = (model, dataset, json.loads(json.dumps(settings)))

    def train(self, *counts):
        turns = []
        side = importlib.import_module("benchmarks.training_side")
        side.train_on_request(*self._about, iter(counts), turns.append)
        return turns[-1]

    def wait_until_ready(self):
        pass

    def end(self):
        pass


def test_the_table_of_training_can_be_tried_on_the_cpu(gpu_training, monkeypatch, capsys):
    monkeypatch.setattr(gpu_training, "Side", SideHere)
    monkeypatch.setattr(gpu_training, "TURN_SECONDS", 0.01)
    generate("amazon_electronics_synth", "dataset_of_10000_rows", 10_000)
    arguments = ["--device=cpu", "--models", "DNN", "--batch_sizes", "512", "--rounds=1"]
    run_script(gpu_training, monkeypatch, *arguments, "--rows=10000", "--threads=1")
    device, rounds, heads, _, stock, ours = capsys.readouterr().out.strip().split("\n")
    assert torch.__version__ in device
    assert "of 1 rounds" in rounds
    assert [head.strip() for head in heads.split("|")][1:-1] == gpu_training.HEADS
    assert "| stock WideDeep |" in stock
    assert "| ours DNN " in ours
    assert "| WideDeep" in ours


def test_a_side_trains_an_epoch_or_so_many_batches(gpu_training, tmp_path):
    generate("amazon_electronics_synth", tmp_path, 10_000)
    case = gpu_training.Case("ours", "DNN", False)
    settings = gpu_training.settings_of(case, tmp_path, 3000, "cpu")
    side = SideHere("ours", "DNN", gpu_training.DATASET, settings, 1)
    epoch, some = side.train(4, gpu_training.EPOCH), side.train(4)
    assert epoch[:2] == (3, 8000)
    assert some[:2] == (4, 12_000)
    assert some.speed == pytest.approx(12_000 / some.seconds)
    assert some.milliseconds == pytest.approx(250 * some.seconds)


def test_crossover_lies_between_the_tables_measured(monkeypatch):
    monkeypatch.syspath_prepend(str(REPOSITORY))
    crossover = importlib.import_module("benchmarks.row_wise_adam").crossover
    tables = (100, 200, 400)
    assert crossover(tables, (3, 3, 3), (1, 2, 6)) == 250
    assert crossover(tables, (3, 3, 3), (4, 5, 6)) == 100
    assert crossover(tables, (3, 3, 3), (1, 2, 3)) is None


def test_the_models_of_a_step_s_benchmark_and_their_aims():
    baseline_step = importlib.import_module("benchmarks.baseline_step")
    models = baseline_step.measured_models(["DNN", "PLE"])
    assert [(model.name, model.limit, model.growth_limit) for model in models] == [
        ("DNN", None, None),
        ("PLE", 9.0, 1.5),
        ("PLE one level", 9.0, 1.5),
        ("PLE by masked loop", None, None),
    ]


@pytest.mark.parametrize("whole", [False, True])
def test_a_whole_step_of_the_benchmark_changes_the_weights(whole, monkeypatch):
    baseline_step = importlib.import_module("benchmarks.baseline_step")
    made = []
    toy_model = baseline_step.toy_model
    monkeypatch.setattr(
        baseline_step, "toy_model", lambda *a, **k: made.append(toy_model(*a, **k)) or made[0]
    )
    step = baseline_step.training_step(baseline_step.STAR, 3, 8, whole=whole)
    before = [parameter.clone() for parameter in made[0].parameters()]
    step()
    assert all(parameter.grad is not None for parameter in made[0].parameters())
    changed = any(not torch.equal(a, b) for a, b in zip(before, made[0].parameters(), strict=True))
    assert changed is whole


def test_dpg_at_its_teacher_s_weights_gives_the_best_possible_scores(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(REPOSITORY))
    monkeypatch.chdir(tmp_path)
    own_world = importlib.import_module("benchmarks.own_world")
    first, *others = own_world.STARTS
    before, _ = own_world.areas(own_world.World(5_000), first, 5_000, epochs=1, seed=1)
    best = bayes_of_split(Path("dataset/teacher_dpg_synth"), [0.8, 0.1, 0.1], 1)["valid"]
    assert before == pytest.approx(best["auc_of_drawn_labels"], abs=1e-5)
    assert not [start.name for start in others if set(start.parts) == set(first.parts)]


def test_placebo_scenarios_are_those_of_other_items(monkeypatch, tmp_path, capsys):
    monkeypatch.syspath_prepend(str(REPOSITORY))
    monkeypatch.chdir(tmp_path)
    script = importlib.import_module("benchmarks.placebo_scenarios")
    rows = [(f"u{row % 7}", f"i{row % 40}", f"c{row % 40 % 5}", 1 + row % 5) for row in range(200)]
    source = tmp_path / "dataset" / "ciao" / "ciao.inter"
    source.parent.mkdir(parents=True)
    header = "user_id:token\titem_id:token\tcategory:token\trating:float\n"
    source.write_text(header + "".join("\t".join(map(str, row)) + "\n" for row in rows))
    script.main(["--dataset=ciao", "--of=item_id"])
    assert capsys.readouterr().out == "dataset_configs/ciao_placebo.yaml\n"
    made = pd.read_csv(source.parents[1] / "ciao_placebo" / "ciao_placebo.inter", sep="\t")
    kept = made.drop(columns="placebo:token")
    pd.testing.assert_frame_equal(kept, pd.read_csv(source, sep="\t"))
    of_items = made.groupby("item_id:token")[["category:token", "placebo:token"]].nunique()
    assert (of_items == 1).all(axis=None)
    items = made.drop_duplicates("item_id:token")
    sizes = items["placebo:token"].value_counts()
    assert sizes.to_dict() == {f"c{number}": 8 for number in range(5)}
    assert (items["placebo:token"] != items["category:token"]).sum() > 20
    config = build_config("STAR", "ciao_placebo")
    assert config["scenario_fields"] == ["placebo"]
    assert {"category", "placebo"} < set(config["load_col"]["inter"])
    with pytest.raises(SystemExit):
        script.main(["--dataset=ciao", "--of=item"])
    assert "there is no field 'item', found user_id, item_id" in capsys.readouterr().err


def test_simple_effects_are_the_ridge_regression_that_normal_equations_solve(monkeypatch):
    monkeypatch.syspath_prepend(str(REPOSITORY))
    script = importlib.import_module("benchmarks.simple_effects")
    draw = np.random.default_rng(3)
    users, items = draw.integers(0, 6, 80), draw.integers(0, 9, 80)
    rows = script.Rows((draw.random(80) < 0.4).astype(float), [users, items])
    mean, effects = script.fit(rows, [7, 9], [2.0, 5.0])
    design = np.hstack([np.eye(7)[users], np.eye(9)[items]])
    ridge = np.diag([2.0] * 7 + [5.0] * 9)
    expected = np.linalg.solve(design.T @ design + ridge, design.T @ (rows.labels - mean))
    np.testing.assert_allclose(np.concatenate(effects), expected, atol=1e-4)
    assert effects[0][6] == 0.0  # of a user that no row has
    new = [np.array([6, 0]), np.array([0, 0])]
    np.testing.assert_allclose(
        script.scores((mean, effects), new), mean + expected[7] + [0.0, expected[0]], atol=1e-4
    )


def test_simple_effects_find_what_users_like_in_each_scenario(monkeypatch, tmp_path, capsys):
    """Labels that follow from user and scenario together, and from neither alone."""
    monkeypatch.syspath_prepend(str(REPOSITORY))
    monkeypatch.chdir(tmp_path)
    script = importlib.import_module("benchmarks.simple_effects")
    draw = np.random.default_rng(4)
    users, items = draw.integers(0, 40, 4000), draw.integers(0, 50, 4000)
    columns = {
        "user_id:token": users,
        "item_id:token": items,
        "category:token": items % 2,
        "rating:float": 1 + 4 * ((users + items) % 2),
    }
    (tmp_path / "dataset" / "ciao").mkdir(parents=True)
    pd.DataFrame(columns).to_csv("dataset/ciao/ciao.inter", sep="\t", index=False)
    aucs = []
    for effects in (["user_id", "item_id"], ["user_id", "user_id:category"]):
        script.main(["--dataset=ciao", "--trials=1", "--effects", *effects])
        header, line = capsys.readouterr().out.splitlines()
        assert header.split(",")[:4] == ["model", "seed", "valid auc", "test auc"]
        aucs.append(float(line.split(",")[3]))
    assert aucs[0] < 0.6 and aucs[1] == 1.0
    with pytest.raises(SystemExit):
        script.main(["--dataset=ciao", "--trials=1", "--effects", "user"])
    assert "--effects: 'user' is no field of tokens, expected user_id" in capsys.readouterr().err


CIAO = "user_id:token\titem_id:token\tcategory:token\trating:float\n"


def told_by(script, capsys, *arguments):
    """What a script says that ends with status 2."""
    with pytest.raises(SystemExit) as end:
        script.main(["--dataset=ciao", *arguments])
    assert end.value.code == 2
    *_, line = capsys.readouterr().err.splitlines()
    return line


@pytest.fixture
def ciao(monkeypatch, tmp_path):
    """A folder to write ``ciao.inter`` into, of rows ``(user, item, category, rating)``."""
    monkeypatch.syspath_prepend(str(REPOSITORY))
    monkeypatch.chdir(tmp_path)
    Path("dataset/ciao").mkdir(parents=True)
    Path("dataset_configs").mkdir()

    def write(rows):
        lines = ("\t".join(map(str, row)) + "\n" for row in rows)
        Path("dataset/ciao/ciao.inter").write_text(CIAO + "".join(lines))

    write((f"u{row % 7}", f"i{row % 40}", f"c{row % 5}", 1 + row % 5) for row in range(200))
    return write


def configure(**changed):
    config = yaml.safe_load((REPOSITORY / "dataset_configs" / "ciao.yaml").read_text())
    config = {key: value for key, value in {**config, **changed}.items() if value != "gone"}
    Path("dataset_configs/ciao.yaml").write_text(yaml.safe_dump(config))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--trials=0"], "--trials: 0 is not allowed, expected at least 1."),
        (["--seed=-1"], "--seed: -1 is not allowed, expected a whole number from 0"),
        (["--seed=4294967295", "--trials=2"], "to 4294967294, as 2 seeds follow from it on."),
    ],
)
def test_simple_effects_of_no_trial_or_seed_are_refused(ciao, capsys, arguments, told):
    script = importlib.import_module("benchmarks.simple_effects")
    assert told in told_by(script, capsys, "--effects", "user_id", *arguments)


@pytest.mark.parametrize(("positives", "split"), [(190, "validation"), (161, "training")])
def test_simple_effects_of_one_class_are_refused(ciao, capsys, monkeypatch, positives, split):
    script = importlib.import_module("benchmarks.simple_effects")
    rows = [script.Rows(np.array(labels, float), []) for labels in ([0, 1], [0, 1], [0, 1])]
    place = ["training", "validation", "test"].index(split)
    rows[place] = script.Rows(np.ones(positives), [])
    monkeypatch.setattr(script, "read_splits", lambda *_: (rows, []))
    line = told_by(script, capsys, "--effects", "user_id", "--seed=5")
    assert line.endswith(
        f"ciao, seed 5: all {positives} labels of the {split} split are 1, where AUC is not "
        "defined, expected both 0 and 1."
    )


def test_a_placebo_of_a_scenario_that_is_not_known_from_the_id_is_refused(ciao, capsys):
    script = importlib.import_module("benchmarks.placebo_scenarios")
    ciao([("u", f"i{row % 10}", f"c{row % 15}", 1) for row in range(60)])
    assert told_by(script, capsys, "--of=item_id").endswith(
        "--of: 'item_id' does not tell the scenario: 10 of its 10 ids have rows of several "
        "category, 3.0 on average, expected a field of which each id has one."
    )
    assert not Path("dataset/ciao_placebo").exists()


@pytest.mark.parametrize(
    ("arguments", "changed", "told"),
    [
        (["--seed=-1"], {}, "--seed: -1 is not allowed, expected a whole number from 0"),
        ([], {"scenario_fields": "gone"}, "scenario_fields has 0 fields, expected one."),
        ([], {"load_col": {"user": ["age"]}}, "load_col: inter is not loaded, expected its"),
        ([], {"load_col": 3}, "load_col: 3 is not allowed, expected columns by file"),
    ],
)
def test_a_placebo_that_cannot_be_made_leaves_no_file(ciao, capsys, arguments, changed, told):
    script = importlib.import_module("benchmarks.placebo_scenarios")
    configure(**changed)
    assert told in told_by(script, capsys, "--of=item_id", *arguments)
    assert not Path("dataset/ciao_placebo").exists()
    assert not Path("dataset_configs/ciao_placebo.yaml").exists()


@pytest.mark.parametrize("load_col", ["gone", None, {"inter": "*"}])
def test_a_placebo_where_all_columns_are_loaded(ciao, load_col):
    script = importlib.import_module("benchmarks.placebo_scenarios")
    configure(load_col=load_col, scenario_fields="category")
    script.main(["--dataset=ciao", "--of=item_id"])
    made = yaml.safe_load(Path("dataset_configs/ciao_placebo.yaml").read_text())
    assert made["scenario_fields"] == ["placebo"]
    assert made.get("load_col") == (None if load_col == "gone" else load_col)


def test_a_crossed_field_has_a_token_for_each_pair(ciao, capsys):
    script = importlib.import_module("benchmarks.crossed_field")
    ciao(
        [("u1", "i1", "c1", 1), ("u1", "i2", "c2", 4), ("u2", "i1", "c1", 5), ("u1", "i3", "c1", 2)]
    )
    script.main(["--dataset=ciao", "--fields", "user_id", "category"])
    assert capsys.readouterr().out == "dataset_configs/ciao_crossed.yaml\n"
    made = pd.read_csv("dataset/ciao_crossed/ciao_crossed.inter", sep="\t")
    assert made["crossed:token"].tolist() == ["u1+c1", "u1+c2", "u2+c1", "u1+c1"]
    assert build_config("LR", "ciao_crossed")["load_col"]["inter"][-1] == "crossed"


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        (["user_id"], "--fields: 'user_id': expected two or more, each once."),
        (["user_id", "user_id"], "expected two or more, each once."),
        (["user_id", "shop"], "there is no field 'shop', found user_id, item_id"),
    ],
)
def test_a_field_of_what_is_no_pair(ciao, capsys, fields, told):
    script = importlib.import_module("benchmarks.crossed_field")
    assert told in told_by(script, capsys, "--fields", *fields)
    assert not Path("dataset/ciao_crossed").exists()
