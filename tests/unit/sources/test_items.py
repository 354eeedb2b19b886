"""Dataset.from_items: data sets of other libraries, items by mapping, tuple or value."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from kit import Loose, Rows

from batchflow import ArgumentTypeError, ArgumentValueError, Dataset, UnknownNameError

N = 12


class Pairs:
    """A data set as users of torch write it."""

    def __len__(self):
        return N

    def __getitem__(self, position):
        return np.full(2, position), position


class Records:
    """A data set as that of Hugging Face: one item, or columns of several."""

    def __init__(self):
        self.asked = []

    def __len__(self):
        return N

    def __getitem__(self, key):
        self.asked.append(key)
        if isinstance(key, list):
            return {
                "image": [[k, k] for k in key],
                "label": list(key),
                "text": list("a" * len(key)),
            }
        return {"image": [key, key], "label": key, "text": "a"}


class Several(Pairs):
    """A data set with a way to get several items."""

    def __getitems__(self, positions):
        return [self[p] for p in positions]


OPTIONS = [{}, {"prefetch": 3}, {"executor": "processes", "n_workers": 1}]
KINDS = {
    "pairs": (Pairs, None),
    "several": (Several, ("x", "y")),
    "records": (Records, {"x": "image", "y": "label"}),
    "list": (lambda: [(np.full(2, k), k) for k in range(N)], None),
    "functions": (Records, {"x": lambda r: r["image"], "y": lambda r: r["label"]}),
}


@pytest.mark.parametrize("options", OPTIONS, ids=["direct", "threads", "processes"])
@pytest.mark.parametrize(("make", "components"), KINDS.values(), ids=KINDS)
def test_items_become_batches(make, components, options):
    dataset = Dataset.from_items(make(), Rows, components=components)
    for batch in dataset.gen_batch(5, shuffle=1, **options):
        assert batch.y.tolist() == batch.indices.tolist()
        assert batch.x.tolist() == [[k, k] for k in batch.indices]


def test_several_records_are_asked_for_in_one_call():
    records = Records()
    dataset = Dataset.from_items(records, Rows, components={"x": "image", "y": "label"})
    records.asked.clear()
    dataset.next_batch(4)
    assert records.asked == [[0, 1, 2, 3]]


def test_keys_of_the_names_of_components_are_taken():
    items = [{"x": k, "other": 0} for k in range(3)]
    batch = Dataset.from_items(items, Rows).next_batch(2)
    assert batch.x.tolist() == [0, 1]
    assert batch.y is None


def test_items_of_different_shapes_stay_a_list_where_the_class_takes_that():
    items = [(np.zeros(k + 1), k) for k in range(3)]
    assert [x.shape for x in Dataset.from_items(items, Loose).next_batch(3).x] == [(1,), (2,), (3,)]
    with pytest.raises(ArgumentValueError, match="different shapes"):
        Dataset.from_items(items, Rows).next_batch(3)


def test_ids_may_be_given():
    dataset = Dataset.from_items([1, 2], Rows, components="x", index=["a", "b"])
    assert dataset.create_batch(["b"]).x.tolist() == [2]


@pytest.mark.torch
def test_a_data_set_of_torch_is_read():
    torch = pytest.importorskip("torch")
    given = torch.utils.data.TensorDataset(torch.arange(8).reshape(4, 2), torch.arange(4))
    batch = Dataset.from_items(given, Rows).create_batch([2])
    assert batch.x.tolist() == [[4, 5]]
    assert batch.y.tolist() == [2]


@pytest.mark.parametrize(
    ("items", "components", "error", "words"),
    [
        (iter([1]), None, ArgumentTypeError, r"len\(items\) and items\[position\]"),
        ({"x": [1]}, None, ArgumentTypeError, "items by position"),
        ([], None, ArgumentValueError, "no items"),
        ([(1, 2, 3)], None, ArgumentTypeError, "a tuple of 3 values"),
        ([1], None, ArgumentTypeError, "an item is one value"),
        ([{"a": 1}], None, UnknownNameError, "have no 'x'"),
        ([{"a": 1}], {"x": "b"}, UnknownNameError, "has no 'b' for 'x'"),
        ([(1,)], {"x": 1}, UnknownNameError, "has no 1 for 'x'"),
        ([(1, 2)], {"z": 1}, ArgumentTypeError, "no component 'z'"),
        (Pairs, None, ArgumentTypeError, r"len\(items\) and items\[position\]"),
        ([(1, 2)], (), ArgumentValueError, "name each once"),
        ([(1, 2)], ("x", "x"), ArgumentValueError, "name each once"),
        ([(1, 2)], {"x", "y"}, ArgumentTypeError, "names in the order of the values"),
        ([[1, 2]], None, ArgumentTypeError, r"by place with components=\{'x': 0, 'y': 1\}"),
        ([pd.DataFrame({"x": [1]})], None, ArgumentTypeError, "the table itself to from_dataframe"),
        ({"train": [1]}, None, ArgumentTypeError, r"a dict has keys, 'train': give the part"),
        (pd.DataFrame({"x": [1]}), None, ArgumentTypeError, "use from_dataframe"),
        (pd.Series([1], [5]), "x", ArgumentTypeError, "use from_dataframe, or from_arrays"),
    ],
)
def test_what_does_not_fit_is_refused(items, components, error, words):
    with pytest.raises(error, match=words):
        Dataset.from_items(items, Rows, components=components)


def test_an_item_that_differs_from_the_first_is_named():
    with pytest.raises(UnknownNameError, match="an item has no 'x'"):
        Dataset.from_items([{"x": 1}, {"z": 2}], Rows).next_batch(2)
    with pytest.raises(ArgumentValueError, match=r"the one at position 1 is \(3, 4, 5\)"):
        Dataset.from_items([(1, 2), (3, 4, 5)], Rows).next_batch(2)


class Named(NamedTuple):
    y: int
    x: int


@dataclass
class Point:
    y: int
    x: int


RECORD = np.array([(1, 2), (3, 4)], dtype=[("y", int), ("x", int)])
FIELDS = {
    "tuples": [Named(1, 2), Named(3, 4)],
    "dataclasses": [Point(1, 2), Point(3, 4)],
    "records": RECORD,
}


@pytest.mark.parametrize("components", [None, {"x": "x", "y": "y"}], ids=["class", "mapping"])
@pytest.mark.parametrize("items", FIELDS.values(), ids=FIELDS)
def test_values_with_names_go_by_name(items, components):
    batch = Dataset.from_items(items, Rows, components).next_batch(2)
    assert (batch.x.tolist(), batch.y.tolist()) == ([2, 4], [1, 3])


def test_numbers_have_the_dtype_of_the_first_item_in_every_batch():
    dataset = Dataset.from_items([0.5, 1, 2.5, 3], Rows, "x")
    assert {dataset.create_batch([k]).x.dtype.name for k in range(4)} == {"float64"}


@pytest.mark.parametrize("ids", [[1], [0, 1]], ids=["alone", "beside"])
@pytest.mark.parametrize("other", [1.5, True, 2**70 - 1.0, None, "a", [1]], ids=repr)
def test_values_that_do_not_fit_the_first_item_are_an_error(other, ids):
    fits = Dataset.from_items([0, other], Loose, "x")
    if other == [1]:  # of another shape
        assert [x.dtype.name for x in fits.create_batch(ids).x] == ["int64"] * len(ids)
        return
    with pytest.raises(ArgumentValueError, match=r"int64 in the first item, and .* at position 1"):
        fits.create_batch(ids)


KINDS_OF_FIRST = {
    "missing": ([None, 1, 2], "object"),
    "text": (["a", 1, 2], "object"),
    "empty": ([[], [1, 2], [3, 4]], "int64"),
    "floats": ([[0.5], [], [1, 2], [3, 4]], "float64"),
    "nested": ([[[1]], [], [[1, 2]], [[3, 4]]], "int64"),
    "empty objects": ([[0], np.empty(0, object), [1, 2], [3, 4]], "int64"),
    "texts in arrays": ([np.array(["a"]), np.array(["bcd"])], "object"),
}


@pytest.mark.parametrize(("items", "dtype"), KINDS_OF_FIRST.values(), ids=KINDS_OF_FIRST)
def test_the_dtype_never_depends_on_which_items_are_in_a_batch(items, dtype):
    dataset = Dataset.from_items(items, Loose, "x")
    ids = [*([k] for k in range(len(items))), list(range(len(items))), list(range(len(items)))[-2:]]
    for batch in map(dataset.create_batch, ids):
        rows = [batch.x] if isinstance(batch.x, np.ndarray) else batch.x
        assert {row.dtype.name for row in rows} == {dtype}


def test_items_of_different_shapes_are_arrays_in_every_batch():
    dataset = Dataset.from_items([[1], [2, 3], [4]], Loose, "x")
    assert [x.tolist() for x in dataset.create_batch([0, 1]).x] == [[1], [2, 3]]
    assert all(isinstance(x, np.ndarray) for x in dataset.create_batch([0, 1]).x)


@pytest.mark.parametrize("make", [np.zeros, lambda n: {"a": [0] * n}, lambda n: [[0] * n, [0]]])
def test_a_batch_may_change_what_it_got_and_the_items_stay(make):
    dataset = Dataset.from_items([(make(1), 0), (make(2), 0), (make(3), 0)], Loose)
    batch = dataset.next_batch(3)
    for value in batch.x:
        (value["a"] if isinstance(value, dict) else value)[0] = 99
    assert "99" not in repr(dataset.create_batch([0, 1, 2]).x)


def test_an_error_of_an_item_names_its_position():
    class Broken(Pairs):
        def __getitem__(self, position):
            if position == 7:
                raise OSError("cut off")
            return position, position

    with pytest.raises(OSError, match="cut off") as caught:
        Dataset.from_items(Broken(), Rows).next_batch(12)
    assert "while the item at position 7 was read" in caught.value.__notes__
    items = Dataset.from_items([[1, 2], [3]], Rows, {"x": lambda item: item[1]})
    with pytest.raises(IndexError) as caught:
        items.next_batch(2)
    assert "while 'x' of the item at position 1 was read" in caught.value.__notes__


def test_a_first_item_that_cannot_be_read_is_told_as_such():
    class Stream:
        def __len__(self):
            return 3

        def __getitem__(self, position):
            raise NotImplementedError

    with pytest.raises(NotImplementedError) as caught:
        Dataset.from_items(Stream(), Rows)
    assert caught.value.__notes__ == ["while from_items asked a Stream for its first item"]


@pytest.mark.parametrize("key", [0, lambda item: item], ids=["place", "function"])
def test_several_items_must_come_as_a_list_of_items(key):
    class Collated(Several):
        def __getitems__(self, positions):
            columns = [self[p] for p in positions]
            return tuple(np.array(column) for column in zip(*columns, strict=True))

    class Keyed(Several):
        def __getitems__(self, positions):
            return {p: self[p] for p in positions}

    with pytest.raises(ArgumentValueError, match="must give a list of so many; got dict"):
        Dataset.from_items(Keyed(), Rows, {"x": key}).next_batch(2)
    with pytest.raises(ArgumentValueError, match="must give a list of so many; got tuple"):
        Dataset.from_items(Collated(), Rows, {"x": key}).next_batch(3)
    if key == 0:  # two columns for two items
        with pytest.raises(
            ArgumentValueError, match=r"a tuple, and the one at position 0 is array"
        ):
            Dataset.from_items(Collated(), Rows, {"x": key}).next_batch(2)


def test_a_component_that_only_later_items_have_is_an_error():
    items = [{"x": 1}, {"x": 2, "y": 3}]
    with pytest.raises(ArgumentValueError, match="has no 'y', and the one at position 1 has"):
        Dataset.from_items(items, Rows).next_batch(2)
    assert Dataset.from_items(items, Rows, "x").next_batch(2).x.tolist() == [1, 2]


class Formatted:
    """A data set of Hugging Face in the format of NumPy: columns with gaps become float32."""

    def __len__(self):
        return 3

    def __getitem__(self, key):
        if not isinstance(key, list):
            return {"x": [np.float64("nan"), np.int64(2**24 + 1), np.int64(3)][key]}
        return {
            "x": np.stack([np.float32(self[k]["x"]) if 0 in key else self[k]["x"] for k in key])
        }

    def __getitems__(self, positions):
        return [{"x": x} for x in self[positions]["x"]]


@pytest.mark.parametrize(
    "components", ["x", {"x": lambda item: item["x"]}], ids=["key", "function"]
)
def test_columns_that_change_their_dtype_with_the_items_are_read_one_by_one(components):
    dataset = Dataset.from_items(Formatted(), Rows, components)
    assert dataset.create_batch([1, 2]).x.tolist() == [2**24 + 1, 3]
    assert dataset.create_batch([0, 1]).x[1] == 2**24 + 1


@pytest.mark.torch
def test_a_tensor_that_numpy_cannot_hold_is_told_with_its_component():
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match="BFloat16") as caught:
        Dataset.from_items([(1, torch.zeros(2, dtype=torch.bfloat16))], Rows)
    assert "while from_items looked at 'y' of the first item" in caught.value.__notes__
