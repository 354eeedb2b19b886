"""Values as data: what comes back is equal, and of its kind."""

import collections
import datetime
import decimal
import fractions
import json
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchflow.checkpoints.values import Decoder, Encoder, decoded, encoded
from batchflow.errors import ArgumentTypeError, ArgumentValueError


def there_and_back(value, **options):
    arrays = {}
    text = json.dumps(encoded(value, arrays, "it", **options))
    return decoded(json.loads(text), arrays, **options)


def same(one, other):
    if type(one) is not type(other):
        return False
    if isinstance(one, np.ndarray):
        if one.dtype == object:
            return one.shape == other.shape and all(map(same, one.flat, other.flat))
        return one.dtype == other.dtype and np.array_equal(
            one, other, equal_nan=one.dtype.kind in "fc"
        )
    if isinstance(one, dict):
        return list(map(repr, one.items())) == list(map(repr, other.items()))
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return repr(one) == repr(other)


UTC = datetime.UTC
KINDS = [
    None, True, 0, -(2**70), 1.5, float("nan"), float("-inf"), -0.0, "~", "a\0b", b"\0\xff", 1 + 2j,
    (1, (2,)), [], [[1, "a"], None], {1: "a", "b": [2], (3,): {4}, None: 0, "~": 1}, {1, 2},
    frozenset({"a"}), range(1, 9, 2), slice(None, 3), list(range(100)), [0.5] * 100, [True] * 100,
    [2**70] * 100, [1, 2.0] * 50, collections.OrderedDict(b=1, a=2), collections.Counter("aab"),
    collections.defaultdict(list, {1: [2]}), collections.defaultdict(None, a={1}),
    collections.deque([1, 2], 3), datetime.datetime(2026, 1, 2, 3, tzinfo=UTC),
    datetime.date(2026, 1, 2), datetime.time(1, 2), datetime.timedelta(days=1, microseconds=2),
    decimal.Decimal("1.10"), fractions.Fraction(1, 3), np.float32(1.5), np.int8(-3), np.bool_(1),
    np.datetime64("2026-01-01"), np.arange(6).reshape(2, 3), np.array("text"),
    np.zeros((0, 3), "f2"),
    np.array([1, "a", None], dtype=object), np.array([(1, 2.0)], dtype="i4,f8"),
]  # fmt: skip


@pytest.mark.parametrize("value", KINDS, ids=repr)
def test_each_kind_comes_back(value):
    assert same(there_and_back(value), value)


PARTS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary())
KEYS = st.one_of(st.none(), st.booleans(), st.integers(), st.text(), st.tuples(st.integers()))
NESTED = st.recursive(
    PARTS,
    lambda inner: st.one_of(
        st.lists(inner), st.lists(inner).map(tuple), st.dictionaries(KEYS, inner)
    ),
)


@settings(max_examples=200)
@given(NESTED)
def test_whatever_is_nested_comes_back(value):
    assert same(there_and_back(value), value)


def test_one_object_at_several_places_is_one_again():
    array, inner, rng = np.arange(3), [1], np.random.default_rng(1)
    back = there_and_back(
        {"a": [array, inner, rng], "b": (array, [inner]), "c": {"d": rng}, "e": 1}
    )
    array, inner, rng = back["a"]
    assert back["b"][0] is array
    assert back["b"][1][0] is inner == [1]
    assert back["c"]["d"] is rng
    assert back["e"] == 1


def test_what_several_values_share_is_one_whichever_is_read_first():
    arrays, shared = {}, [1, 2]
    encode = Encoder(arrays)
    data = {"id": encode(shared, "it"), "other": encode({"in": shared}, "it")}
    decode = Decoder(json.loads(json.dumps(data)), arrays)
    assert decode(data["other"])["in"] is decode(data["id"])


def test_arrays_that_share_memory_share_it_again():
    flat, table = np.arange(12.0), np.asfortranarray(np.arange(6).reshape(2, 3))
    value = {
        "parts": [flat[2:8].reshape(2, 3), flat[::-2], flat[10:]],
        "flat": flat,
        "bytes": flat[:1].view(np.uint8),
        "table": [table, table[:, 1], table.T],
        "alone": [np.arange(5)[1:3], np.zeros(0)[:0]],
        "wide": np.broadcast_to(flat[3:4], (2, 2)),
    }
    arrays = {}
    back = decoded(json.loads(json.dumps(encoded(value, arrays, "it"))), arrays)
    assert sorted(array.nbytes for array in arrays.values()) == [0, 16, 48, 96]
    for one in (value, back):
        one["parts"][0][1, 2] = 70
        one["flat"][0] = 5
        one["parts"][1][-3] = 90
        one["table"][1][:] = 8
    assert repr(back) == repr(value)
    assert back["bytes"].tolist() == value["bytes"].tolist()
    assert not np.shares_memory(back["parts"][2], back["table"][0])


def test_slices_that_share_nothing_are_written_alone():
    arrays, rows = {}, np.arange(3000.0).reshape(1000, 3)
    encoded([rows[n] for n in (0, 999)], arrays, "it")
    assert [array.nbytes for array in arrays.values()] == [24, 24]
    many = {}
    encoded([*rows], many, "it")
    assert len(many) == 1000


def test_a_view_that_is_none_of_its_block_is_refused():
    flat, arrays = np.arange(4.0), {}
    data = encoded([flat, flat[1:]], arrays, "it")
    for place, wrong in ((1, 16), (2, [9]), (3, [800]), (4, "|O")):
        bad = json.loads(json.dumps(data))
        bad[1]["v"][place] = wrong
        with pytest.raises(ArgumentValueError, match="no value that was saved"):
            decoded(bad, arrays)


def test_objects_that_come_and_go_while_others_are_written_share_nothing():
    value = [collections.deque([n]) for n in range(50)]
    assert same(there_and_back(value), value)


@pytest.mark.parametrize("kind", [np.float32, np.int8, np.complex64, np.bool_, np.float64])
def test_long_lists_of_numbers_of_numpy_are_one_array(kind):
    arrays, value = {}, [kind(n % 2) for n in range(100)]
    data = encoded(value, arrays, "it")
    assert len(arrays) == 1
    assert same(decoded(data, arrays), value)


def test_lists_of_spans_of_time_keep_their_units():
    value = [np.timedelta64(n, "s") for n in range(50)] + [np.timedelta64(1, "D")] * 50
    assert same(there_and_back(value), value)


def test_short_floats_come_back():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    value = np.array([1.5, -2], ml_dtypes.bfloat16)
    back = there_and_back([value, value[0]])
    assert back[0].dtype == value.dtype
    assert back[0].tolist() == [1.5, -2]
    assert type(back[1]) is ml_dtypes.bfloat16


def test_a_generator_of_python_goes_on_where_it_was():
    generator = random.Random(3)
    generator.gauss()
    again = there_and_back(generator)
    assert [again.gauss() for _ in range(4)] == [generator.gauss() for _ in range(4)]


def test_generators_go_on_where_they_were():
    for make in (
        np.random.default_rng,
        np.random.RandomState,
        lambda s: np.random.Generator(np.random.MT19937(s)),
    ):
        generator = make(3)
        generator.random(5)
        again = there_and_back(generator)
        assert type(again) is type(generator)
        assert again.random(4).tolist() == generator.random(4).tolist()


class Anything:
    pass


def test_what_needs_a_pickle_is_refused_by_its_place_and_read_with_trust_alone():
    with pytest.raises(ArgumentTypeError, match=r"it\[1\] is a Anything"):
        encoded([1, Anything()], {}, "it")
    arrays = {}
    data = encoded({"a": Anything}, arrays, "it", trust=True)
    assert decoded(data, arrays, trust=True)["a"].__name__ == "Anything"
    with pytest.raises(ArgumentValueError, match="holds a pickle"):
        decoded(data, arrays)


def test_a_mapping_whose_default_is_a_function_is_refused():
    with pytest.raises(ArgumentTypeError, match="it: a defaultdict of <function"):
        encoded(collections.defaultdict(lambda: 3), {}, "it")


def test_what_contains_itself_is_refused():
    value = []
    value.append(value)
    with pytest.raises(ArgumentTypeError, match="contains itself"):
        encoded(value, {}, "it")


@pytest.mark.parametrize(
    "data",
    [{"~": "nothing", "v": 1}, {"v": 1}, {"~": "array", "v": "a9"}, {"~": "complex", "v": 3}],
)
def test_damaged_data_is_an_error(data):
    with pytest.raises(ArgumentValueError):
        decoded(data, {})


def test_numpy_and_lists_that_are_saved_are_copies():
    array, arrays = np.zeros(3), {}
    data = encoded(array, arrays, "it")
    array += 1
    assert decoded(data, arrays).tolist() == [0, 0, 0]
