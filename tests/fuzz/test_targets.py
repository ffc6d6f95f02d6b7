import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS, attempt


@pytest.mark.parametrize("name", TARGETS)
def test_input_gives_a_result_or_a_sentence(name, tmp_path):
    @settings(
        max_examples=25,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def run(data):
        attempt(TARGETS[name], tmp_path / "fuzz", data)

    run()
