"""What a model of RecBole lacks is said in a sentence, before data is loaded."""

import importlib.util

import pytest
from recbole.config import Config

from recbole_midpg.common.errors import UsageError
from recbole_midpg.integration.models.registry import get_model
from tests.support.recbole_data import gaps_config, loaders_of
from tests.support.recbole_shop import (
    GRAPH,
    NAME,
    SEQUENTIAL,
    SEQUENTIAL_FEATURES,
    SEQUENTIAL_SAMPLED,
    SEQUENTIAL_VECTORS,
    write_shop,
)


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("datasets")
    write_shop(folder)
    return folder


def build(monkeypatch, shop, model, *arguments):
    """The config of a command."""
    monkeypatch.setattr("sys.argv", ["run_recbole", f"--data_path={shop}", *arguments])
    return Config(model, NAME)


def sentence(monkeypatch, shop, model, *arguments):
    with pytest.raises(UsageError) as error:
        build(monkeypatch, shop, model, *arguments)
    said = str(error.value)
    assert said.endswith((".", "?"))
    assert "\n" not in said
    return said


NO_LISTS = {"unembedded_fields": ["sizes"]}
OTHERS = ["user_id", "item_id", "job", "age", "genres"]
UNSAMPLED = "--train_neg_sample_args=~"


@pytest.mark.parametrize("model", ["BPR", "LightGCN", "SimpleX", "CKE", "MKR", "KGIN"])
def test_models_that_compare_items_need_sampled_ones(model, shop, monkeypatch):
    said = sentence(monkeypatch, shop, model, UNSAMPLED)
    assert said.startswith(f"train_neg_sample_args: None is not allowed for {model}, which compare")


@pytest.mark.parametrize("model", ["FPMC", "TransRec"])
def test_so_do_sequential_ones(model, shop, monkeypatch):
    said = sentence(monkeypatch, shop, model, *SEQUENTIAL.arguments)
    assert f"is not allowed for {model}, which compares items with sampled ones" in said


def test_a_loss_that_a_key_chooses_decides_too(shop, monkeypatch):
    build(monkeypatch, shop, "SINE", *SEQUENTIAL.arguments)
    assert "compares" in sentence(
        monkeypatch, shop, "SINE", *SEQUENTIAL.arguments, "--loss_type=BPR"
    )


@pytest.mark.parametrize("model", ["MultiVAE", "RecVAE", "ENMF", "EASE", "Pop", "ItemKNN"])
def test_models_of_whole_users_need_none(model, shop, monkeypatch):
    build(monkeypatch, shop, model, UNSAMPLED)


@pytest.mark.parametrize("model", ["NeuMF", "DMF", "FISM", "NAIS", "NNCF"])
def test_a_loss_of_labels_needs_labels(model, shop, monkeypatch):
    said = sentence(monkeypatch, shop, model, UNSAMPLED)
    assert said.startswith(f"train_neg_sample_args: None leaves {model} without labels, as LABEL_F")
    build(monkeypatch, shop, model, UNSAMPLED, "--load_col={inter: [user_id, item_id, label]}")


def test_din_needs_labels_too(shop, monkeypatch):
    assert "leaves DIN without" in sentence(monkeypatch, shop, "DIN", *SEQUENTIAL.arguments)
    build(monkeypatch, shop, "DIN", *SEQUENTIAL_SAMPLED.arguments)


def test_repeatnet_would_learn_sampled_items_as_taken(shop, monkeypatch):
    said = sentence(monkeypatch, shop, "RepeatNet", *SEQUENTIAL_SAMPLED.arguments)
    assert said.endswith("which would learn the sampled items as taken ones, expected ~.")
    build(monkeypatch, shop, "RepeatNet", *SEQUENTIAL.arguments)


def test_sequences_need_a_time(shop, monkeypatch):
    said = sentence(monkeypatch, shop, "GRU4Rec", UNSAMPLED)
    assert said.startswith("TIME_FIELD: 'timestamp' is not a loaded field of numbers")
    assert "load_col: {inter: [user_id, item_id, timestamp]}" in said


def test_sequences_need_an_order(shop, monkeypatch):
    arguments = "--eval_args={split: {RS: [0.8, 0.1, 0.1]}, order: RO, mode: full}"
    said = sentence(monkeypatch, shop, "GRU4Rec", *SEQUENTIAL.arguments, arguments)
    assert said.startswith("eval_args: order: 'RO' is not allowed for GRU4Rec")


@pytest.mark.parametrize("model", ["FDSA", "GRU4RecF", "SASRecF", "S3Rec"])
def test_features_of_items_have_to_be_loaded(model, shop, monkeypatch):
    key = "item_attribute" if model == "S3Rec" else "selected_features"
    said = sentence(monkeypatch, shop, model, *SEQUENTIAL.arguments)
    assert said == (
        f"{key}: 'class' is not a loaded field of tokens in shop.item (load_col: {{item: [item_id, "
        "class]} loads it beside those of inter), expected some of class, brand; did you mean "
        "'class'?"
    )
    build(monkeypatch, shop, model, *SEQUENTIAL_FEATURES.arguments)
    other = sentence(monkeypatch, shop, model, *SEQUENTIAL_FEATURES.arguments, f"--{key}=price")
    assert other.startswith(f"{key}: 'price' is not a loaded field of tokens")


def test_a_graph_has_to_be_there(tmp_path, monkeypatch):
    write_shop(tmp_path)
    (tmp_path / NAME / f"{NAME}.link").unlink()
    said = sentence(monkeypatch, tmp_path, "KGAT", *GRAPH.arguments)
    assert said == (
        f"model: 'KGAT' needs a knowledge graph, and there is no shop.link in {tmp_path / NAME}."
    )


def test_a_graph_has_to_be_loaded(shop, monkeypatch):
    said = sentence(monkeypatch, shop, "CKE", "--load_col={inter: [user_id, item_id]}")
    assert said.startswith("HEAD_ENTITY_ID_FIELD: 'head_id' is not a loaded field of shop.kg (load")


def test_vectors_have_to_be_given(shop, monkeypatch):
    build(monkeypatch, shop, "KSR", *SEQUENTIAL_VECTORS.arguments)
    kept = [word for word in SEQUENTIAL_VECTORS.arguments if "preload_weight" not in word]
    said = sentence(monkeypatch, shop, "KSR", *kept, "--preload_weight={ent_id: ent_emb}")
    assert said.startswith("preload_weight: {'ent_id': 'ent_emb'} has no 'rel_id', with whose vec")
    build(monkeypatch, shop, "GRU4RecKG", *kept, "--preload_weight={ent_id: ent_emb}")


@pytest.mark.parametrize(
    ("model", "arguments", "key"),
    [
        ("RaCT", ["--train_stage=finetune"], "pre_model_path: '' is no file, and train_stage: fin"),
        ("KD_DAGFM", ["--phase=distillation"], "warm_up: '' is no file, and phase: distillation"),
        ("NeuMF", ["--use_pretrain=True"], "mf_pretrain_path: None is no file, and use_pretrain"),
        ("ConvNCF", ["--train_method=after_pretrain"], "pre_model_path: '' is no file"),
        ("RaCT", ["--pretrain_epochs=5"], "save_step: 10 leaves no weights of 5 epochs"),
    ],
)
def test_stages_begin_with_weights_and_leave_some(model, arguments, key, shop, monkeypatch):
    assert sentence(monkeypatch, shop, model, *arguments).startswith(key)


@pytest.mark.parametrize("model", ["GRU4RecCPR", "SASRecCPR"])
def test_who_ranks_all_items_does_nothing_else(model, shop, monkeypatch):
    """By RecBole ``loss_type: BPR`` ends the process with status 0."""
    mode = "--eval_args={split: {LS: valid_and_test}, order: TO, mode: uni10}"
    said = sentence(monkeypatch, shop, model, *SEQUENTIAL.arguments, mode)
    assert said.endswith("which scores all items at once, expected full.")
    said = sentence(monkeypatch, shop, model, *SEQUENTIAL_SAMPLED.arguments, "--loss_type=BPR")
    assert said == f"loss_type: 'BPR' is not allowed for {model}, expected CE."


@pytest.mark.parametrize(
    ("model", "arguments", "missing", "said"),
    [
        (
            "NCL",
            [],
            "faiss",
            "model: 'NCL' needs faiss, which is not installed; pip install faiss-cpu.",
        ),
        (
            "NNCF",
            ["--neigh_info_method=louvain"],
            "community",
            "model: 'NNCF' needs community, which is not installed; pip install python-louvain.",
        ),
        (
            "BPR",
            ["--log_wandb=True"],
            "wandb",
            "log_wandb: True needs wandb, which is not installed; pip install wandb.",
        ),
    ],
)
def test_a_package_is_asked_for(model, arguments, missing, said, shop, monkeypatch):
    stock = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name == missing else stock(name, *rest),
    )
    assert sentence(monkeypatch, shop, model, *arguments) == said


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (
            {},
            "numerical_features: 'sizes' of gaps.item is a list of numbers, which FwFM has no "
            "weights for, expected it in unembedded_fields: [sizes].",
        ),
        (
            {"fields": {0: ["user_id", "item_id"], 1: ["price"]}, **NO_LISTS},
            "fields: 'coupon' is in no group of {0: ['user_id', 'item_id'], 1: ['price']}, ",
        ),
        ({"fields": ["price"], **NO_LISTS}, "fields: ['price'] is not allowed, expected groups of"),
        ({"fields": {0: "price"}, **NO_LISTS}, "fields: {0: 'price'} is not allowed, expected gro"),
        (
            {"fields": {1: ["price", "coupon"], 2: OTHERS}, **NO_LISTS},
            "fields: {1: ['price', 'coupon'], 2: ['user_id', 'item_id', 'job', 'age', 'genres']} "
            "is not allowed, expected groups that are numbered from 0.",
        ),
    ],
)
def test_fwfm_needs_the_group_of_each_field(values, told):
    with pytest.raises(UsageError) as error:
        gaps_config("FwFM", **values)
    assert str(error.value).startswith(told)


@pytest.mark.parametrize("fields", [None, {0: ["price", "coupon"], 1: OTHERS}])
def test_fwfm_trains_on_grouped_fields(fields):
    config = gaps_config("FwFM", **NO_LISTS, fields=fields)
    train, _, _ = loaders_of(config)
    model = get_model("FwFM")(config, train.dataset)
    assert model.calculate_loss(next(iter(train))).isfinite()
