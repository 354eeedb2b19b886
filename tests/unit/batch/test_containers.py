"""Components of a `Batch` that are tensors, sparse matrices or tables: their rows are items."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse

from batchflow import ArgumentTypeError, ArgumentValueError, ArrayBatch, B, Batch, Dataset

VALUES = np.arange(15).reshape(5, 3)


class Loose(Batch):
    components = "x", "tag"


class Strict(ArrayBatch):
    components = "x", "tag"


def tensor(values):
    return pytest.importorskip("torch").tensor(values)


def polars(values):
    return pytest.importorskip("polars").DataFrame(values, schema=["a", "b", "c"])


MAKERS = [
    pytest.param(np.asarray, id="array"),
    pytest.param(np.ma.asarray, id="masked"),
    pytest.param(scipy.sparse.csr_matrix, id="csr_matrix"),
    pytest.param(scipy.sparse.coo_array, id="coo_array"),
    pytest.param(pd.DataFrame, id="table"),
    pytest.param(polars, id="polars"),
    pytest.param(tensor, id="torch", marks=pytest.mark.torch),
]


def dense(rows):
    return np.asarray(rows.toarray() if hasattr(rows, "toarray") else rows)


WAYS = {
    "plain": lambda p: p,
    "filter": lambda p: p.filter(B.tag != 1),
    "filter by rows": lambda p: p.filter(lambda row: dense(row).ravel()[0] != 6, src="x"),
    "rebatch": lambda p: p.rebatch(3),
    "rebatch smaller": lambda p: p.rebatch(1),
    "merge": lambda p: p.merge(p.run_later(1, n_epochs=None)),
    "subset": lambda p: p.map(lambda batch: batch[batch.indices[::-1]], over="batches"),
}


@pytest.mark.parametrize("options", [{}, {"shuffle": 1, "prefetch": 2}], ids=["direct", "shuffled"])
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("make", MAKERS)
def test_rows_stay_with_their_items(make, way, options):
    pipeline = Dataset.from_arrays(Loose, x=make(VALUES), tag=np.arange(5)).p
    kinds = set()
    for batch in way(pipeline).gen_batch(2, **options):
        assert dense(batch.x).tolist() == VALUES[np.asarray(batch.tag)].tolist()
        kinds.add(type(batch.x))
    assert len(kinds) == 1


@pytest.mark.parametrize("make", MAKERS)
def test_rows_travel_to_worker_processes(make):
    pipeline = Dataset.from_arrays(Loose, x=make(VALUES), tag=np.arange(5)).p.rebatch(2)
    for batch in pipeline.gen_batch(3, executor="processes", n_workers=1):
        assert dense(batch.x).tolist() == VALUES[np.asarray(batch.tag)].tolist()


@pytest.mark.parametrize("make", MAKERS)
def test_a_batch_has_its_own_rows(make):
    whole = make(VALUES.copy())
    before = dense(whole).copy()
    for options in ({}, {"shuffle": 1}):
        batch = next(Dataset.from_arrays(Loose, x=whole, tag=np.arange(5)).gen_batch(2, **options))
        if hasattr(batch.x, "iloc"):
            batch.x.iloc[:, :] = 99
        elif scipy.sparse.issparse(batch.x):
            batch.x.data[:] = 99
        elif not hasattr(batch.x, "to_dicts"):  # tables of polars do not change
            batch.x[:] = 99
    assert dense(whole).tolist() == before.tolist()


@pytest.mark.parametrize("make", MAKERS)
def test_a_wrong_number_of_rows_is_refused(make):
    batch = Loose(3)
    batch.x, batch.tag = make(VALUES), np.arange(3)
    with pytest.raises(ArgumentValueError, match=r"Loose\.x: the batch has 3 items, .* 5 rows"):
        batch.create_subset([0, 1])


def test_a_sparse_matrix_is_refused_by_an_array_batch_with_the_way():
    with pytest.raises(ArgumentTypeError, match=r"use Batch, or \.toarray\(\)"):
        Dataset.from_arrays(Strict, x=scipy.sparse.csr_matrix(VALUES))
    batch = Strict(5)
    with pytest.raises(ArgumentTypeError, match=r"use Batch, or \.toarray\(\)"):
        batch.x = scipy.sparse.csr_matrix(VALUES)


@pytest.mark.torch
def test_tensors_become_arrays_in_an_array_batch():
    torch = pytest.importorskip("torch")
    dataset = Dataset.from_arrays(Strict, x=torch.tensor(VALUES), tag=[torch.tensor(1)] * 5)
    batch = dataset.next_batch(2)
    assert type(batch.x) is np.ndarray
    assert batch.x.tolist() == VALUES[:2].tolist()


@pytest.mark.torch
def test_tensors_of_several_dtypes_are_not_merged():
    torch = pytest.importorskip("torch")
    one, other = Loose([0]), Loose([1])
    one.x, other.x = torch.tensor([2**60 + 1]), torch.tensor([0.5])
    with pytest.raises(ArgumentValueError, match=r"torch\.int64, torch\.float32; convert"):
        Loose.merge([one, other])


@pytest.mark.tensorflow
@pytest.mark.backends("tensorflow")
def test_tensors_of_tensorflow_are_taken_by_rows():
    tf = pytest.importorskip("tensorflow")
    pipeline = Dataset.from_arrays(Loose, x=tf.constant(VALUES), tag=np.arange(5)).p
    for way in WAYS.values():
        for batch in way(pipeline).gen_batch(2, shuffle=1, prefetch=2):
            assert tf.is_tensor(batch.x)
            assert batch.x.numpy().tolist() == VALUES[np.asarray(batch.tag)].tolist()


class Slices:
    """What Keras's PyDataset and torch's datasets are: lengths and items, without an IndexError."""

    def __len__(self):
        return 5

    def __getitem__(self, place):
        raise AssertionError("it was read")


REFUSED = {
    "from_arrays": lambda cls, v: Dataset.from_arrays(cls, x=v),
    "preloaded": lambda cls, v: Dataset(5, cls, preloaded={"x": v}),
    "load": lambda cls, v: Dataset(5, cls).p.load(src=v, components="x").next_batch(2),
    "load of a mapping": lambda cls, v: Dataset(5, cls).p.load(src={"x": v}).next_batch(2),
    "assignment": lambda cls, v: setattr(Strict(5), "x", v),
}


@pytest.mark.parametrize("cls", [Loose, Strict])
@pytest.mark.parametrize("way", REFUSED.values(), ids=REFUSED)
def test_an_object_that_nobody_can_read_is_refused_with_the_way(way, cls):
    with pytest.raises(ArgumentTypeError, match=r"source\.read\(positions\)"):
        way(cls, Slices())


@pytest.mark.parametrize("value", ["text", b"bytes", 5, {1, 2}, (i for i in range(5)), {"a": 1}])
def test_what_has_no_rows_is_refused(value):
    with pytest.raises(ArgumentTypeError, match="expected an array or a list with one row"):
        Dataset(5, Loose, preloaded={"x": value})
