"""Where people's data met the conversion and came back changed: each a fault that was found."""

import datetime

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse
from kit import Loose, Rows

from batchflow import (
    ArgumentTypeError,
    ArgumentValueError,
    B,
    Dataset,
    DatasetIndex,
    F,
    P,
)

LETTERS = ["a", "b", "c", "d"]
UPSIDE_DOWN = pd.Series([4, 3, 2, 1], index=LETTERS[::-1])
OVER_TWO = UPSIDE_DOWN > 2  # of c and d


def of_letters(cls=Rows):
    return Dataset.from_arrays(cls, index=LETTERS, x=np.arange(1, 5), y=np.arange(1, 5))


# ---- sources


@pytest.mark.parametrize("options", [{}, {"shuffle": 3}, {"shuffle": 3, "prefetch": 2}])
def test_a_source_may_change_the_positions_that_it_gets(options):
    class Sorting:
        def __len__(self):
            return 8

        def read(self, positions):
            back = np.argsort(np.argsort(positions))
            positions.sort()
            return {"x": (positions * 10)[back]}

    for batch in Dataset(8, Rows, source=Sorting()).gen_batch(4, **options):
        assert batch.x.tolist() == [10 * i for i in batch.indices]


@pytest.mark.parametrize("cls", [Rows, Loose])
def test_labelled_rows_that_a_source_reads_go_by_label(cls):
    table = pd.Series(np.arange(10), index=list("abcdefghij"))

    class Database:
        def __len__(self):
            return 10

        def read(self, positions):
            return {"x": table.iloc[np.sort(positions)]}

    for batch in Dataset(list(table.index), cls, source=Database()).gen_batch(4, shuffle=3):
        assert list(batch.x) == table[batch.indices].tolist()


def test_a_source_that_raises_stopiteration_does_not_end_the_run():
    class Ending:
        def __len__(self):
            return 2

        def read(self, positions):
            raise StopIteration

    with pytest.raises(RuntimeError, match=r"at the positions \[0, 1\], it raised StopIteration"):
        list(Dataset(2, Rows, source=Ending()).gen_batch(2))


def test_a_class_is_no_source():
    class Source:
        def __len__(self):
            return 2

        def read(self, positions):
            return {}

    with pytest.raises(ArgumentTypeError, match="source is an object"):
        Dataset(2, Rows, source=Source)


# ---- labels


MASKED = {
    "create_subset": lambda d: d.create_subset(OVER_TWO),
    "create_batch": lambda d: d.create_batch(OVER_TWO),
    "brackets": lambda d: d.next_batch(4)[OVER_TWO],
    "take by the index": lambda d: d.index.create_subset(OVER_TWO),
    "filter": lambda d: d.p.filter(F(lambda ids: OVER_TWO)(B.indices)).next_batch(4),
    "filter with a value": lambda d: d.p.filter(OVER_TWO).next_batch(4),
}


@pytest.mark.parametrize("way", MASKED.values(), ids=MASKED)
def test_a_mask_with_labels_goes_by_label(way):
    assert way(of_letters()).indices.tolist() == ["c", "d"]


def test_values_for_items_go_by_label():
    pipeline = of_letters().p.apply_parallel(lambda x, more: more, P(UPSIDE_DOWN), src="x")
    assert pipeline.next_batch(4).x.tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("cls", [Rows, Loose])
def test_what_is_assigned_to_any_batch_goes_by_label(cls):
    batch = of_letters(cls).p.update(B.x, UPSIDE_DOWN).next_batch(4)
    assert list(batch.x) == [1, 2, 3, 4]
    assert list(Dataset.from_batch(batch).next_batch(4).x) == [1, 2, 3, 4]
    with pytest.raises(ArgumentValueError, match=r"\['d'\]"):
        of_letters(cls).p.update(B.x, UPSIDE_DOWN[1:]).next_batch(4)


def test_outputs_of_a_feed_go_by_label():
    feed = of_letters().p.feed(4, B.x, F(lambda ids: UPSIDE_DOWN)(B.indices))
    x, y = next(iter(feed))
    assert x.tolist() == y.tolist() == [1, 2, 3, 4]
    assert type(y) is np.ndarray


def test_labels_are_compared_with_those_that_came_before():
    table = pd.DataFrame({"v": [3, 1, 2]})
    ordered = table.sort_values("v")
    with pytest.raises(ArgumentValueError, match=r"Rows\.x and y have different labels"):
        Dataset.from_arrays(Rows, x=ordered.v).p.load(src={"y": table.v}).next_batch(3)
    with pytest.raises(ArgumentValueError, match="x and y have different labels"):
        Dataset(3, Rows).p.load(src={"x": ordered.v}).load(src={"y": table.v}).next_batch(3)
    pipeline = Dataset.from_arrays(Rows, x=ordered.v).p.load(src={"y": ordered.v})
    for options in ({}, {"executor": "processes", "n_workers": 1}):
        batch = next(pipeline.rebatch(3).gen_batch(2, **options))
        assert batch.x.tolist() == batch.y.tolist() == [1, 2, 3]


# ---- columns


TEXTS = ["a\0", "b", "x" * 300]
ZONED = [datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)]


@pytest.mark.parametrize("way", ["from_arrays", "load", "assignment", "table"])
def test_texts_of_polars_stay_what_they_are(way):
    column = pl.Series("x", TEXTS)
    if way == "assignment":
        batch = Rows(3)
        batch.x = column
    else:
        pipeline = {
            "from_arrays": lambda: Dataset.from_arrays(Rows, x=column).p,
            "load": lambda: Dataset(3, Rows).p.load(src=column, components="x"),
            "table": lambda: Dataset(3, Rows, preloaded=pl.DataFrame([column])).p,
        }[way]()
        batch = pipeline.next_batch(3)
    assert batch.x.dtype == object
    assert batch.x.tolist() == TEXTS


def test_ids_of_polars_stay_what_they_are():
    index = DatasetIndex(pl.Series(["a\0", "a"]))
    assert index.indices.tolist() == ["a\0", "a"]


def test_time_zones_of_polars_are_kept():
    column = pl.Series(ZONED)
    assert Dataset.from_arrays(Rows, x=column).next_batch(1).x.tolist() == ZONED


def test_extension_arrays_of_pandas_are_rows():
    batch = Loose(3)
    batch.x = pd.array([2**53 + 1, None, 3], dtype="Int64")
    assert batch[[0, 1]].x.tolist() == [2**53 + 1, pd.NA] or batch[[0, 1]].x[1] is pd.NA
    merged = Loose.merge([batch[[0, 2]], batch[[0]]])
    assert merged.x.tolist() == [2**53 + 1, 3, 2**53 + 1]


# ---- writes to items


def test_a_masked_array_that_is_written_stays_masked():
    dataset = Dataset.from_arrays(Rows, x=np.array([[1.0, -99.0], [3.0, 4.0]]))

    def mask(item):
        item.x = np.ma.masked_equal(item.x, -99.0)

    assert dataset.p.map(mask).next_batch(2).x.tolist() == [[1, None], [3, 4]]


@pytest.mark.parametrize("dtype", ["f8", "i8", "?", "U2", "M8[D]"])
def test_what_is_masked_is_written_as_that(dtype):
    batch = Rows(2)
    batch.x = np.ones(2, "i8").astype(dtype)
    batch[0].x = np.ma.masked
    assert batch.x.mask.tolist() == [True, False]


@pytest.mark.parametrize("cls", [Rows, Loose])
def test_a_buffer_may_be_used_for_the_next_item(cls):
    buffer = np.zeros(2)

    def write(item):
        buffer[:] = item.y
        item.x = buffer

    dataset = Dataset.from_arrays(cls, x=np.zeros((3, 2)), y=[1, 2, 3])
    assert dataset.p.map(write).next_batch(3).x.tolist() == [[1, 1], [2, 2], [3, 3]]


def test_a_smaller_shape_is_not_spread_over_an_item():
    dataset = Dataset.from_arrays(Rows, x=np.arange(6.0).reshape(2, 3))
    for function in (lambda x: x[:1], lambda x: x.max()):

        def write(item, function=function):
            item.x = function(item.x)

        with pytest.raises(ArgumentValueError, match="shape"):
            dataset.p.map(write).next_batch(2)


def test_a_component_that_cannot_be_written_to_is_copied():
    batch = Rows(3)
    batch.x = np.broadcast_to(np.float64(1), (3, 2))
    batch[1].x = batch[1].x + 1
    assert batch.x.tolist() == [[1, 1], [2, 2], [1, 1]]


def test_one_long_text_does_not_take_its_room_for_all():
    dataset = Dataset.from_arrays(Rows, x=np.array([f"t{i}" for i in range(1000)]))

    def write(item):
        item.x = "x" * 10_000 if item.x == "t5" else item.x

    batch = dataset.p.map(write).next_batch(1000)
    assert batch.x.dtype == object
    assert batch.x[4:7].tolist() == ["t4", "x" * 10_000, "t6"]


def test_records_are_written_in_per_item_calls_as_in_a_loop():
    dataset = Dataset.from_arrays(Rows, x=np.array([(1, b"a"), (2, b"b")], "i4,S2"))

    def write(item):
        item.x = (5, b"zz")

    assert dataset.p.map(write).next_batch(2).x.tolist() == [(5, b"zz")] * 2


# ---- masks that are no arrays of NumPy


MASKS = {
    "polars": lambda: pl.Series([False, True]),
    "objects": lambda: np.array([False, True], dtype=object),
    "nullable": lambda: pd.array([False, True], dtype="boolean"),
}


@pytest.mark.parametrize("make", MASKS.values(), ids=MASKS)
def test_masks_of_any_kind_are_masks(make):
    dataset = Dataset.from_arrays(Rows, x=[10, 20])
    assert dataset.create_subset(make()).indices.tolist() == [1]
    assert dataset.next_batch(2)[make()].x.tolist() == [20]


@pytest.mark.torch
def test_masks_of_torch_are_masks():
    torch = pytest.importorskip("torch")
    dataset = Dataset.from_arrays(Rows, x=[10, 20])
    assert dataset.create_subset(torch.tensor([False, True])).indices.tolist() == [1]


# ---- merge


def merged(one, other):
    first, second = (Dataset(2, Loose).next_batch(2) for _ in range(2))
    first.x, second.x = one, other
    return Loose.merge([first, second]).x


def test_sparse_matrices_are_merged_without_a_change():
    one, other = (scipy.sparse.csr_array([[v], [1]]) for v in (2, 0.5))
    assert merged(one, other).toarray().ravel().tolist() == [2, 1, 0.5, 1]
    for value in (2**53 + 1, True):
        first = scipy.sparse.csr_array([[value], [value]])
        with pytest.raises(ArgumentValueError, match=r"Loose\.x: .* convert them"):
            merged(first, scipy.sparse.csr_array([[0.5], [1.0]]))


def test_a_sparse_array_of_one_dimension_is_refused():
    with pytest.raises(ArgumentTypeError, match=r"reshape\(-1, 1\)"):
        Dataset.from_arrays(Loose, x=scipy.sparse.coo_array(np.arange(6)))


def test_tables_are_merged_without_a_change():
    assert merged(pd.Series([1, 2]), pd.Series([0.5, 1])).tolist() == [1, 2, 0.5, 1]
    with pytest.raises(ArgumentValueError, match=r"int64, float64; convert"):
        merged(pd.Series([2**53 + 1, 2]), pd.Series([0.5, 1]))
    with pytest.raises(ArgumentValueError, match="different columns"):
        merged(pd.DataFrame({"a": [1, 2], "b": [3, 4]}), pd.DataFrame({"a": [5, 6]}))


def test_dtypes_are_kept_through_merge():
    big_endian = np.array([1, 2], ">i4")
    assert merged(big_endian, big_endian).dtype == big_endian.dtype
    masked = np.ma.array([1, 2], mask=[0, 1], fill_value=-7)
    assert merged(masked, masked).fill_value == -7


def test_whole_numbers_beside_complex_ones_are_kept():
    batch = Rows(2)
    batch.x = np.array([2**53 + 1, 2])
    batch[1].x = 1j
    assert batch.x.tolist() == [2**53 + 1, 1j]


# ---- files


def test_a_file_is_found_wherever_the_process_has_gone(tmp_path, monkeypatch):
    import h5py

    for number, name in enumerate(("one", "other")):
        (tmp_path / name).mkdir()
        with h5py.File(tmp_path / name / "rows.h5", "w") as new:
            new["x"] = np.full(4, number)
    monkeypatch.chdir(tmp_path / "one")
    with h5py.File("rows.h5", "r") as file:
        dataset = Dataset.from_arrays(Rows, x=file["x"])
        monkeypatch.chdir(tmp_path / "other")
        batch = next(dataset.p.gen_batch(4, executor="processes", n_workers=1))
        assert batch.x.tolist() == [0] * 4


def test_a_file_in_memory_is_refused_for_processes_with_the_reason():
    import h5py

    with h5py.File("none.h5", "w", driver="core", backing_store=False) as file:
        file["x"] = np.zeros(4)
        dataset = Dataset.from_arrays(Rows, x=file["x"])
        assert dataset.next_batch(2).x.tolist() == [0, 0]
        with pytest.raises(ArgumentTypeError, match="lies in memory alone"):
            next(dataset.p.gen_batch(2, executor="processes", n_workers=1))
