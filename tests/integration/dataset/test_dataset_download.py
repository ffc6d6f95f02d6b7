from urllib.error import URLError

import pytest
from recbole.config import Config
from recbole.data import create_dataset

from recbole_midpg.common.errors import UsageError
from recbole_midpg.integration.dataset import dataset_download


def test_an_address_that_cannot_be_reached_is_named(tmp_path, monkeypatch):
    def unreachable(_):
        raise URLError("Name or service not known")

    monkeypatch.setattr(dataset_download, "decide_download", unreachable)
    told = r"dataset: https://\S+ml-1m\.zip cannot be reached \(Name or service not known\)\."
    with pytest.raises(UsageError, match=told):
        create_dataset(Config("DNN", "ml-1m"))
    assert not list(tmp_path.glob("dataset/*"))
