"""The codec: every value comes back as it was, and nothing else is made of what a file holds."""

import json
from enum import Enum

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_midpg.common.plain_values import (
    NOT_ENCODED,
    Codec,
    Kind,
    NotPlainError,
    enum_kind,
)


class Colour(Enum):
    RED = 1
    BLUE = 2


class Shape(Enum):
    ROUND = 1


COMPLEX = Kind(
    ("real", "imaginary"),
    lambda value: isinstance(value, complex),
    lambda number: (number.real, number.imag),
    complex,
)
TUPLE = Kind(("tuple",), lambda value: isinstance(value, tuple), lambda t: (list(t),), tuple)
CODEC = Codec(enum_kind(Colour), COMPLEX)
FOR_JSON = Codec(enum_kind(Colour), COMPLEX, TUPLE)

atoms = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
    | st.sampled_from(Colour)
    | st.complex_numbers(allow_nan=False)
)
# Among them those by which the codec marks what it has encoded.
names = st.sampled_from(["enum", "member", "keys", "values", "real", "imaginary", "a"])
keys = names | st.integers() | st.sampled_from(Colour) | st.tuples(st.integers(), names)
values = st.recursive(
    atoms,
    lambda parts: (
        st.lists(parts, max_size=3)
        | st.lists(parts, max_size=3).map(tuple)
        | st.dictionaries(keys, parts, max_size=3)
    ),
    max_leaves=8,
)


def kinds_of(value):
    """The value, with the type of each of its parts beside it: 1, 1.0 and True are equal."""
    if isinstance(value, dict):
        return dict, [(kinds_of(key), kinds_of(item)) for key, item in value.items()]
    if isinstance(value, (list, tuple)):
        return type(value), [kinds_of(item) for item in value]
    return type(value), value


@given(values)
def test_every_value_comes_back(value):
    assert kinds_of(CODEC.decode(CODEC.encode(value))) == kinds_of(value)


@given(values)
def test_every_value_comes_back_through_json(value):
    text = json.dumps(FOR_JSON.encode(value))
    assert kinds_of(FOR_JSON.decode(json.loads(text))) == kinds_of(value)


def test_what_is_written():
    value = {"a": [Colour.RED, (1j, {2})], "b": {1: None}, "enum": "x"}
    assert CODEC.encode(value) == {
        "a": [{"enum": "Colour", "member": "RED"}, ({"real": 0.0, "imaginary": 1.0}, {2})],
        "b": {"keys": [1], "values": [None]},
        "enum": "x",
    }
    looks_encoded = {"enum": "Colour", "member": "RED"}
    assert CODEC.encode(looks_encoded) == {"keys": ["enum", "member"], "values": ["Colour", "RED"]}


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (np.float32(0.5), 0.5),
        (np.int8(3), 3),
        (np.bool_(True), True),
        (np.str_("x"), "x"),
        ({np.str_("x"): [np.float64(1)]}, {"x": [1.0]}),
    ],
)
def test_numbers_and_texts_of_numpy_become_pythons(value, plain):
    assert kinds_of(CODEC.encode(value)) == kinds_of(plain)


@pytest.mark.parametrize("value", [object(), [Shape.ROUND], {"a": np.zeros(2)}, {1: b"x"}])
def test_a_value_of_no_kind_is_refused(value):
    with pytest.raises(NotPlainError):
        CODEC.encode(value)


def test_the_refusal_names_the_type():
    with pytest.raises(NotPlainError, match=r"a numpy\.ndarray is no plain value") as error:
        CODEC.encode([np.zeros(2)])
    assert error.value.type_name == "numpy.ndarray"


def test_leaves_stay_and_others_become_what_the_file_wants():
    codec = Codec(leaves=(bytes,), otherwise=repr)
    assert codec.encode([b"x", Colour.RED]) == [b"x", repr(Colour.RED)]


@pytest.mark.parametrize(
    "plain",
    [
        {"enum": "Shape", "member": "ROUND"},
        {"enum": "os", "member": "system"},
        {"enum": "Colour", "member": "GREEN"},
        {"enum": "Colour", "member": ["RED"]},
        {"real": "x", "imaginary": 1.0},
        {"keys": [1], "values": []},
        {"keys": [[1]], "values": [1]},
        {"keys": 3, "values": 4},
        [{"a": {"enum": {}, "member": 5}}],
    ],
)
def test_what_was_not_encoded_is_not_decoded(plain):
    with pytest.raises(NOT_ENCODED):
        CODEC.decode(plain)


def test_values_nested_too_deep_are_not_decoded():
    plain: list = []
    for _ in range(100_000):
        plain = [plain]
    with pytest.raises(NOT_ENCODED):
        CODEC.decode(plain)
