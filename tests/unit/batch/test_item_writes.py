"""What is written to an item arrives as it is, or the write is refused: nothing is cast."""

import threading

import numpy as np
import pytest

from batchflow import (
    ArgumentTypeError,
    ArgumentValueError,
    ArrayBatch,
    B,
    Batch,
    Dataset,
    action,
    inbatch_parallel,
)


class Strict(ArrayBatch):
    components = "x", "y"

    @action
    @inbatch_parallel(init="items")
    def write(self, item, function):
        item.x = function(item.x)

    @action
    @inbatch_parallel(init="indices")
    def write_by_id(self, item_id, function):
        self[item_id].x = function(self[item_id].x)

    @action
    def write_in_a_loop(self, function):
        for item in self:
            item.x = function(item.x)
        return self


class Loose(Batch):
    components = "x", "y"
    write, write_by_id, write_in_a_loop = (
        Strict.write,
        Strict.write_by_id,
        Strict.write_in_a_loop,
    )


def by_map(pipeline, function):
    def change(item):
        item.x = function(item.x)

    return pipeline.map(change)


WAYS = {
    "map": by_map,
    "items": lambda p, f: p.write(f),
    "items_async_free": lambda p, f: p.write(f, target="for"),
    "indices": lambda p, f: p.write_by_id(f),
    "loop": lambda p, f: p.write_in_a_loop(f),
}
CASES = {
    "a broken number": (np.full((4, 2), 200, "u1"), lambda x: x / 255, "f8"),
    "a small float": (np.arange(4), lambda x: 0.7, "f8"),
    "a longer text": (np.array(["ab"] * 4), lambda x: x + "_flipped", "U10"),
    "a longer bytes": (np.array([b"ab"] * 4), lambda x: b"abcd", "S4"),
    "a big float": (np.zeros(4, "f4"), lambda x: 1e300, "f8"),
    "a big int": (np.zeros(4, "u1"), lambda x: 300, "i8"),
    "a negative int": (np.zeros(4, "u1"), lambda x: -1, "i8"),
    "a fitting int": (np.zeros(4, "u1"), lambda x: 255, "u1"),
    "hours": (np.array(["2020-01-01"] * 4, "M8[D]"), lambda x: x + np.timedelta64(5, "h"), "M8[h]"),
    "no bool": (np.zeros(4, bool), lambda x: 0.5, object),
    "a bool": (np.zeros(4, int), lambda x: True, object),
    "NUL at the end": (np.array(["a"] * 4), lambda x: "a\0", object),
    "bytes to text": (np.array(["a"] * 4), lambda x: b"a", object),
    "None": (np.zeros(4), lambda x: None, object),
    "a text to numbers": (np.zeros(4), lambda x: "a", object),
    "StringDType": (
        np.array(["a"] * 4, np.dtypes.StringDType()),
        lambda x: x + "\0" * 3 + "b",
        np.dtypes.StringDType(),
    ),
    "a number to StringDType": (np.array(["a"] * 4, np.dtypes.StringDType()), lambda x: 5, object),
}


@pytest.mark.parametrize("cls", [Strict, Loose])
@pytest.mark.parametrize(("x", "function", "dtype"), CASES.values(), ids=CASES)
def test_a_value_arrives_as_it_is(cls, x, function, dtype):
    for name, way in WAYS.items():
        batch = way(Dataset.from_arrays(cls, x=x, y=np.arange(4)).p, function).next_batch(4)
        assert batch.x.dtype == dtype, name
        for before, after in zip(x, batch.x, strict=True):
            expected = function(before)
            assert np.array_equal(after, expected), name
            assert isinstance(after, (bool, np.bool_)) == isinstance(expected, bool), name


@pytest.mark.parametrize("cls", [Strict, Loose])
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_another_shape_is_refused_with_the_way_to_do_it(cls, way):
    dataset = Dataset.from_arrays(cls, x=np.zeros((4, 3)))
    with pytest.raises(ArgumentValueError, match=r'shape \(3,\).*\(2,\).*map\(f, src="x"\)'):
        way(dataset.p, lambda x: x[:2]).next_batch(4)


def test_an_item_of_one_batch_is_written_where_it_stands():
    batch = Strict(["a", "b"])
    batch.x, batch.y = np.zeros(2, "u1"), [1, 2]
    batch["b"].x = 0.5
    assert batch.x.tolist() == [0, 0.5]


def test_data_without_components_widens_too():
    batch = ArrayBatch(["a", "b"])
    batch.data = np.zeros(2, "u1")
    batch["b"] = 0.5
    assert batch.data.tolist() == [0, 0.5]


def test_a_stored_part_of_a_component_widens_it():
    dataset = Dataset.from_arrays(Strict, x=np.zeros((3, 2), "u1"))
    batch = dataset.p.update(B.x[:, 0], 0.5).next_batch(3)
    assert batch.x.tolist() == [[0.5, 0]] * 3


def test_other_writes_of_a_call_are_seen_in_it_and_by_no_other_call():
    barrier = threading.Barrier(2)

    class Two(ArrayBatch):
        components = "x"

        @action
        @inbatch_parallel(init="items")
        def write(self, item, seen):
            item.x = item.x + 0.5
            barrier.wait(10)
            seen.append((item.x, sorted(self.x.tolist())))

    seen = []
    batch = Dataset.from_arrays(Two, x=np.array([1, 2])).p.write(seen, n_workers=2).next_batch(2)
    assert sorted(seen) == [(1.5, [1, 2]), (2.5, [1, 2])]
    assert batch.x.tolist() == [1.5, 2.5]


def test_what_was_written_before_another_item_failed_is_kept_as_in_turn():
    class Some(ArrayBatch):
        components = "x"

        @inbatch_parallel(init="items", post="collect")
        def write(self, item):
            item.x = item.x / 2
            if item.x == 0.5:
                raise ValueError("one")

        def collect(self, results):
            return self

    batch = Some(3)
    batch.x = np.array([1, 2, 3])
    assert batch.write().x.tolist() == [0.5, 1, 1.5]


def test_a_record_is_not_cut():
    batch = Strict(2)
    batch.x = np.array([(1, "ab"), (2, "c")], "i4,U2")
    batch[0].x = (3, "zz")
    with pytest.raises(ArgumentValueError, match="does not fit into a record"):
        batch[1].x = (3, "longer")
    assert batch.x.tolist() == [(3, "zz"), (2, "c")]


def test_a_masked_item_stays_masked_and_widens():
    batch = Strict(2)
    batch.x = np.ma.array([1, 2], mask=[True, False])
    batch[1].x = 0.5
    assert batch.x.tolist() == [None, 0.5]


def test_a_table_refuses_to_be_written_to_by_items():
    import pandas as pd

    batch = Loose(2)
    batch.x = pd.DataFrame({"a": [1, 2]})
    assert batch[1].x.a == 2
    with pytest.raises(ArgumentTypeError, match=r'nothing can be written.*map\(f, src="x"\)'):
        batch[1].x = 5


@pytest.mark.torch
def test_a_tensor_becomes_wide_enough():
    torch = pytest.importorskip("torch")
    batch = Loose(2)
    batch.x = torch.tensor([1, 2], dtype=torch.uint8)
    batch[1].x = 0.5
    assert batch.x.tolist() == [1, 0.5]
