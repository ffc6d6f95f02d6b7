import io
import pickle
import resource
import warnings
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
import torch
from recbole.utils import EvaluatorType, ModelType

from recbole_midpg.common.errors import UsageError
from recbole_midpg.integration.run.checkpoint import (
    config_from_plain,
    config_to_plain,
    load_checkpoint,
    load_weights,
    write_atomically,
)
from recbole_midpg.models.dnn import DNN
from recbole_midpg.models.midpg import MIDPG
from recbole_midpg.training.trainer import ScenarioTrainer
from tests.security.attacks import RunsCode
from tests.support.processes import run_python
from tests.support.recbole_data import gaps_config, loaders_of


def trained(model_class=MIDPG, **values):
    """A trainer after one epoch, its checkpoint written, and the test split's loader."""
    config = gaps_config(model_class.__name__, **values)
    train_data, valid_data, test_data = loaders_of(config)
    model = model_class(config, train_data.dataset)
    trainer = ScenarioTrainer(config, model)
    trainer.fit(train_data, valid_data, verbose=False)
    return trainer, test_data


def test_config_survives_as_plain_values():
    config = gaps_config("MIDPG", beta=0.25)
    rebuilt = config_from_plain(config_to_plain(config), "a file")
    assert rebuilt["MODEL_TYPE"] is ModelType.CONTEXT
    assert rebuilt.model_class is MIDPG
    assert rebuilt.final_config_dict == config.final_config_dict


def test_a_config_of_an_earlier_version_is_read():
    """As versions 0.1 and 0.2 wrote these of its values."""
    plain = config_to_plain(gaps_config("MIDPG"))
    written = {
        "MODEL_TYPE": {"enum": "ModelType", "member": "CONTEXT"},
        "eval_type": {"enum": "EvaluatorType", "member": "VALUE"},
        "MODEL_INPUT_TYPE": {"enum": "InputType", "member": "POINTWISE"},
        "threshold": {"rating": 4},
        "mlp_hidden_size": [128, 64, 32],
    }
    assert {key: plain["values"][key] for key in written} == written
    rebuilt = config_from_plain({**plain, "values": {**plain["values"], **written}}, "a file")
    assert rebuilt["MODEL_TYPE"] is ModelType.CONTEXT
    assert rebuilt["eval_type"] is EvaluatorType.VALUE
    assert rebuilt["threshold"] == {"rating": 4}


def test_a_checkpoint_holds_plain_values_only():
    trainer, _ = trained()
    content = torch.load(trainer.saved_model_file, weights_only=True)
    assert content["config"]["model"] == "MIDPG"
    assert content["config"]["values"]["beta"] == 0.1


def test_a_checkpoint_loads_in_a_fresh_process_with_the_same_predictions(tmp_path):
    trainer, test_data = trained()
    batch = next(iter(test_data))[0]
    trainer.model.eval()
    expected = trainer.model.predict(batch)
    code = f"""
import recbole_midpg, torch
from recbole.quick_start import load_data_and_model
config, model, dataset, train, valid, test = load_data_and_model({trainer.saved_model_file!r})
model.eval()
print(type(model).__module__, [p.hex() for p in model.predict(next(iter(test))[0]).tolist()])
"""
    result = run_python(code, tmp_path)
    assert result.returncode == 0, result.stderr
    told = result.stdout.strip().splitlines()[-1]
    assert told == f"recbole_midpg.models.midpg {[p.hex() for p in expected.tolist()]}"


def test_the_best_model_is_loaded_for_evaluation():
    trainer, test_data = trained()
    expected = trainer.evaluate(test_data)
    with torch.no_grad():
        for parameter in trainer.model.parameters():
            parameter.zero_()
    assert trainer.evaluate(test_data) == expected
    assert trainer.evaluate(test_data, load_best_model=False) == expected


def test_resuming_goes_on_after_the_saved_epoch():
    trainer, _ = trained()
    config = gaps_config("MIDPG", epochs=3)
    train_data, valid_data, _ = loaders_of(config)
    resumed = ScenarioTrainer(config, MIDPG(config, train_data.dataset))
    resumed.resume_checkpoint(trainer.saved_model_file)
    assert resumed.start_epoch == 1
    for name, value in resumed.model.state_dict().items():
        assert torch.equal(value, trainer.model.state_dict()[name]), name
    resumed.fit(train_data, valid_data, verbose=False)
    assert sorted(resumed.train_loss_dict) == [1, 2]


def told_of(path: str) -> str:
    with pytest.raises(UsageError) as error:
        load_checkpoint(path)
    assert path in str(error.value) and "\n" not in str(error.value)
    return str(error.value)


def test_files_that_are_no_checkpoint_are_refused():
    trainer, _ = trained()
    whole = Path(trainer.saved_model_file).read_bytes()
    for name, content in {
        "truncated.pth": whole[: len(whole) // 2],
        "empty.pth": b"",
        "text.pth": b"not a checkpoint",
        "letter.pth": b"X",  # a pickle's operation that lacks what follows
    }.items():
        Path(name).write_bytes(content)
        told_of(name)
    torch.save({"a": Path("b")}, "pickle.pth", pickle_protocol=4)  # as RecBole writes them
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "more than plain values" in told_of("pickle.pth")
    torch.save({"weights": 1}, "other.pth")
    assert "no model of RecBole" in told_of("other.pth")
    for config in ({"lr": 1}, [1], {"model": "DNN", "dataset": "gaps", "values": 3}):
        torch.save({"config": config, "state_dict": {}}, "other.pth")
        assert "its config is not one of recbole-midpg" in told_of("other.pth")
    assert "no such file" in told_of("none.pth")


def test_one_bit_of_the_archive_s_end_changes_what_is_read_nowhere():
    """Its count of disks is looked at before anything else is."""
    trainer, _ = trained()
    path = Path(trainer.saved_model_file)
    whole, expected = path.read_bytes(), load_checkpoint(str(path))["state_dict"]
    for place in range(whole.rindex(b"PK\6\6"), len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        try:
            found = load_checkpoint(str(path))["state_dict"]
        except UsageError as error:
            assert "is damaged" in str(error) or "plain values" in str(error)
        else:
            assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_a_checkpoint_of_stock_recbole_is_refused_with_the_reason():
    """Stock RecBole pickles its Config, by a protocol that weights_only cannot read at all."""
    config = gaps_config("DeepFM")
    torch.save({"config": config, "state_dict": {}}, "stock.pth", pickle_protocol=4)
    assert "RecBole without recbole-midpg writes such files" in told_of("stock.pth")
    torch.save({"config": config, "state_dict": {}}, "stock.pth")
    assert "RecBole without recbole-midpg writes such files" in told_of("stock.pth")


def test_numpy_arrays_beside_the_parameters_are_read():
    trainer, _ = trained()
    trainer.model.other_parameter_name = ["kept"]
    trainer.model.kept = np.arange(3.0)
    trainer._save_checkpoint(0, verbose=False)
    trainer.model.kept = None
    load_weights(trainer.model, load_checkpoint(trainer.saved_model_file), "saved")
    assert isinstance(trainer.model.kept, np.ndarray)
    assert trainer.model.kept.tolist() == [0.0, 1.0, 2.0]


def test_what_could_only_be_pickled_is_refused_when_it_is_saved():
    trainer, _ = trained()
    trainer.model.other_parameter_name = ["kept"]
    trainer.model.kept = RunsCode()
    with pytest.raises(UsageError, match=r"MIDPG\.kept holds a .*RunsCode"):
        trainer._save_checkpoint(0, verbose=False)


def test_matrices_and_modules_that_built_in_models_keep():
    """ItemKNN keeps scipy matrices; DIN names a module, whose weights are in the state_dict."""
    trainer, _ = trained()
    trainer.model.other_parameter_name = ["similarity", "part"]
    trainer.model.similarity = scipy.sparse.csr_matrix([[0.0, 2.0], [3.0, 0.0]])
    trainer.model.part = trainer.model.backbone
    trainer._save_checkpoint(0, verbose=False)
    part = trainer.model.backbone
    trainer.model.similarity = None
    load_weights(trainer.model, load_checkpoint(trainer.saved_model_file), "saved")
    assert trainer.model.similarity.format == "csr"
    assert trainer.model.similarity.toarray().tolist() == [[0.0, 2.0], [3.0, 0.0]]
    assert trainer.model.part is part


def keeping(model, **values):
    """A model that keeps some values beside its parameters."""
    model.other_parameter_name = list(values)
    vars(model).update(values)
    return model


def test_what_a_model_of_an_earlier_version_keeps_is_read():
    """As versions 0.1 and 0.2 wrote an array and a sparse matrix."""
    trainer, _ = trained()
    checkpoint = load_checkpoint(trainer.saved_model_file)
    checkpoint["other_parameter"] = {
        "matrix": {
            "sparse": "csr",
            "shape": [2, 3],
            "row": torch.tensor([0, 1], dtype=torch.int32),
            "column": torch.tensor([2, 0], dtype=torch.int32),
            "data": torch.tensor([5.0, 7.0]),
        },
        "table": {"array": torch.arange(4, dtype=torch.int16).reshape(2, 2)},
        "nested": {"a": [1, (2.5, None)], "weights": torch.ones(2)},
    }
    model = keeping(trainer.model, matrix=None, table=None, nested=None)
    load_weights(model, checkpoint, "saved")
    assert model.matrix.format == "csr"
    assert model.matrix.toarray().tolist() == [[0, 0, 5], [7, 0, 0]]
    assert model.table.dtype == np.int16 and model.table.tolist() == [[0, 1], [2, 3]]
    assert model.nested["a"] == [1, (2.5, None)] and torch.equal(
        model.nested["weights"], torch.ones(2)
    )


@pytest.mark.parametrize(
    "damaged",
    [
        {"matrix": {"array": 3}},
        {"matrix": {"sparse": "csr", "shape": [1], "row": 1, "column": 2, "data": 3}},
        {"matrix": {"keys": [[]], "values": [1]}},
        3,
    ],
)
def test_damage_in_what_a_model_keeps_is_reported(damaged):
    trainer, _ = trained()
    checkpoint = {**load_checkpoint(trainer.saved_model_file), "other_parameter": damaged}
    model = keeping(trainer.model, matrix=None)
    with pytest.raises(UsageError, match=r"'saved'.*beside its parameters is damaged"):
        load_weights(model, checkpoint, "saved")


def pickle_to(state, path):
    Path(path).write_bytes(pickle.dumps(state))


@pytest.mark.parametrize("save", [torch.save, pickle_to])
def test_nothing_in_a_file_is_run(tmp_path, save):
    save({"config": RunsCode(), "state_dict": {}}, "attack.pth")
    told_of("attack.pth")
    assert not (tmp_path / "ran").exists()


def test_a_checkpoint_of_another_model_is_refused():
    trainer, _ = trained()
    config = gaps_config("DNN")
    train_data, _, _ = loaders_of(config)
    other = ScenarioTrainer(config, DNN(
        config, train_data.dataset))  # fmt: skip
    path = trainer.saved_model_file
    with pytest.raises(UsageError, match="it holds a MIDPG, expected a DNN"):
        other.resume_checkpoint(path)
    with pytest.raises(UsageError, match="of model MIDPG on dataset gaps, do not fit this DNN"):
        other.evaluate([1], model_file=path)


def test_a_failed_write_leaves_the_old_checkpoint(monkeypatch):
    trainer, _ = trained()
    path = Path(trainer.saved_model_file)
    before = path.read_bytes()

    def fill_the_disk(state, temporary):
        temporary.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", fill_the_disk)
    with pytest.raises(UsageError, match=r"cannot be written .*No space left"):
        trainer._save_checkpoint(1)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


class CountedFile(io.BytesIO):
    """A file that is interrupted, once, by its write of a number."""

    def __init__(self, interrupted=None):
        super().__init__()
        self.writes, self.interrupted = 0, interrupted

    def write(self, content):
        self.writes += 1
        if self.writes == self.interrupted:
            raise KeyboardInterrupt
        return super().write(content)


def test_ctrl_c_at_any_write_of_a_file_is_an_interrupt(monkeypatch):
    state, stock, whole = {"a": torch.zeros(300), "b": torch.ones(5)}, torch.save, CountedFile()
    stock(state, whole)
    assert whole.writes > 5
    for number in range(1, whole.writes + 1):
        file = CountedFile(interrupted=number)
        monkeypatch.setattr(torch, "save", lambda state, _, file=file: stock(state, file))
        with pytest.raises(KeyboardInterrupt):
            write_atomically(state, "new.pth")
    assert not [path for path in Path.cwd().iterdir() if path.is_file()]


def test_a_disk_that_is_full_at_any_byte_is_told():
    state = {"a": torch.zeros(300), "b": list(range(3000))}
    write_atomically(state, "whole.pth")
    size = Path("whole.pth").stat().st_size
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    for free in range(0, size, size // 30):
        resource.setrlimit(resource.RLIMIT_FSIZE, (free, limits[1]))
        try:
            with pytest.raises(UsageError, match=r"it cannot be written \(File too large\)"):
                write_atomically(state, "new.pth")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in Path.cwd().iterdir() if path.is_file()] == ["whole.pth"]
