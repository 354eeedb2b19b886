"""Law 11: what goes in comes out the same, in value and kind, whichever way in, through and out."""

import datetime
import math

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from batchflow import ArgumentValueError, ArrayBatch, B, Batch, Dataset

SETTINGS = settings(
    max_examples=80,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)

NAN = float("nan")
integers = st.integers(-(2**65), 2**65) | st.integers(-3, 300)
numbers = integers | st.floats(allow_nan=True) | st.booleans() | st.complex_numbers()
texts = st.text(max_size=4) | st.sampled_from(["", "a\0", "\0", "ünï", "x" * 50])
blobs = st.binary(max_size=4) | st.sampled_from([b"", b"\0", b"a\0\0"])
of_numpy = st.builds(np.float32, st.floats(width=32)) | st.builds(np.uint8, st.integers(0, 255))
dates = st.builds(
    np.datetime64, st.dates(datetime.date(1700, 1, 1), datetime.date(2200, 1, 1))
) | st.just(np.datetime64("NaT"))
scalars = numbers | texts | blobs | of_numpy | dates | st.none()
records = st.tuples(texts, numbers)
arrays = st.builds(
    lambda dtype, value: np.full((2,), value, dtype),
    st.sampled_from(["u1", "i8", "f4", "f8", "?"]),
    st.integers(0, 1),
)
elements = [integers, st.floats(), st.booleans(), texts, blobs, dates, records, arrays]


@st.composite
def values(draw):
    """Lists of 4 to 7 elements, of one kind or of several."""
    kinds = draw(st.lists(st.sampled_from([*elements, scalars]), min_size=1, max_size=2))
    return draw(st.lists(st.one_of(*kinds), min_size=4, max_size=7))


def kind(value):
    if isinstance(value, (bool, np.bool_)):
        return "bool"
    if isinstance(value, (np.datetime64, np.timedelta64)):
        return "date"
    if isinstance(value, (int, float, complex, np.number)):
        return "number"
    if isinstance(value, np.ndarray):
        return "array"
    return next(t for t in (str, bytes, tuple, type(None)) if isinstance(value, t))


def same(one, other):
    if kind(one) != kind(other):
        return False
    if kind(one) == "array":
        return len(one) == len(other) and all(map(same, one, other))
    if kind(one) is tuple:
        return len(one) == len(other) and all(map(same, one, other))
    one, other = (v.item() if isinstance(v, np.number) else v for v in (one, other))
    if kind(one) == "date" and np.isnat(one):
        return bool(np.isnat(other))
    if kind(one) == "number" and one != one:
        return other != other
    return bool(one == other) and (
        not isinstance(one, float)
        or not isinstance(other, float)
        or math.copysign(1, one) == math.copysign(1, other)
    )


class Loose(Batch):
    components = "x", "tag"


class Strict(ArrayBatch):
    components = "x", "tag"


class Rows:
    """A source of lists."""

    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def read(self, positions):
        return {"x": [self.items[i] for i in positions], "tag": positions.copy()}


def written(items):
    def write(item):
        item.x = items[item.tag]

    return write


def assigned(items):
    def assign(batch):
        batch.x = [items[i] for i in batch.tag]
        return batch

    return assign


def _empty(cls, n):
    return Dataset.from_arrays(cls, tag=np.arange(n))


WAYS_IN = {
    "from_arrays": lambda cls, v: Dataset.from_arrays(cls, x=v, tag=np.arange(len(v))).p,
    "preloaded": lambda cls, v: Dataset(len(v), cls, preloaded=(v, np.arange(len(v)))).p,
    "source": lambda cls, v: Dataset(len(v), cls, source=Rows(v)).p,
    "assigned": lambda cls, v: _empty(cls, len(v)).p.map(assigned(v), over="batches"),
    "load": lambda cls, v: _empty(cls, len(v)).p.load(src=v, components="x"),
    "load_by_id": lambda cls, v: _empty(cls, len(v)).p.load(src=dict(enumerate(v)), components="x"),
    "map": lambda cls, v: _empty(cls, len(v)).p.map(lambda i: v[i], src="tag", dst="x"),
    "apply_parallel": lambda cls, v: _empty(cls, len(v)).p.apply_parallel(
        lambda i: v[i], src="tag", dst="x"
    ),
    "from_batch": lambda cls, v: (
        Dataset.from_batch(
            Dataset.from_arrays(cls, x=v, tag=np.arange(len(v))).p.next_batch(len(v))
        ).p
    ),
    "written": lambda cls, v: Dataset.from_arrays(
        cls, x=np.zeros((len(v), *np.shape(v[0])), "u1"), tag=np.arange(len(v))
    ).p.map(written(v)),
}
WAYS_OUT = {
    "direct": (lambda p: p, {}),
    "shuffled": (lambda p: p, {"shuffle": 1}),
    "threads": (lambda p: p, {"prefetch": 3}),
    "rebatch": (lambda p: p.rebatch(3), {}),
    "merge": (lambda p: p.merge(p.run_later(2, n_epochs=None)), {}),
    "filter": (lambda p: p.filter(B.tag != 1), {}),
    "feed": None,
}


def out_of(pipeline, way):
    if way == "feed":
        for tags, x in pipeline.feed(2, B.tag, B.x):
            yield from zip(np.asarray(tags).tolist(), x, strict=True)
        return
    change, options = WAYS_OUT[way]
    for batch in change(pipeline).gen_batch(2, **options):
        yield from zip(np.asarray(batch.tag).tolist(), batch.x, strict=True)


@pytest.mark.parametrize("cls", [Loose, Strict])
@pytest.mark.parametrize("way_in", WAYS_IN)
@SETTINGS
@given(values(), st.sampled_from(sorted(WAYS_OUT)))
def test_values_come_out_as_they_went_in(cls, way_in, given_values, way_out):
    assume(way_in != "written" or len({np.shape(v) for v in given_values}) == 1)
    assume(way_in != "written" or all(kind(v) is not tuple for v in given_values))
    try:
        found = list(out_of(WAYS_IN[way_in](cls, given_values), way_out))
    except ArgumentValueError as error:  # arrays beside scalars: an ArrayBatch says so
        assume("different shapes" not in str(error))
        raise
    assert found
    for tag, x in found:
        assert same(given_values[tag], x), (given_values[tag], x)


@pytest.mark.parametrize("way_in", ["from_arrays", "preloaded", "from_batch"])
@SETTINGS
@given(values())
def test_the_dtype_does_not_depend_on_the_rows_of_a_batch(way_in, given_values):
    batches = WAYS_IN[way_in](Strict, given_values).gen_batch(1)
    assert len({(batch.x.dtype, batch.x.shape[1:]) for batch in batches}) == 1


EVERYTHING = {
    "numbers": [1, 2.5, NAN, 2**60],
    "big": [2**63 + 1, -1, 0, 5],
    "bools": [True, False, True, True],
    "mixed": ["red", NAN, 3, None],
    "bytes": [b"\0", b"a\0", b"", b"abc"],
    "texts": ["a\0", "", "b" * 100, "c"],
    "records": [("red", 1.5), ("blue", 2), ("", NAN), ("x", -1)],
    "arrays": [np.zeros(2, "u1"), np.ones(2), np.zeros(2, "i8"), np.ones(2, "f4")],
}


@pytest.mark.parametrize("values", EVERYTHING.values(), ids=EVERYTHING)
@pytest.mark.parametrize("way_in", ["from_arrays", "assigned", "load", "map", "source"])
def test_values_come_out_of_worker_processes_as_they_went_in(way_in, values):
    for cls in (Loose, Strict):
        pipeline = WAYS_IN[way_in](cls, values)
        found = [
            (int(tag), x)
            for batch in pipeline.gen_batch(2, executor="processes", n_workers=1)
            for tag, x in zip(batch.tag, batch.x, strict=True)
        ]
        assert [tag for tag, _ in found] == [0, 1, 2, 3]
        for tag, x in found:
            assert same(values[tag], x), (values[tag], x)
