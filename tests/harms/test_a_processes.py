"""Faults of an older batchflow, A: what a batch took along to other processes."""

import copy
import pickle

import dill
import numpy as np
import pytest

from batchflow import ArrayBatch, Dataset, action

pytestmark = pytest.mark.timeout(60)

ITEM = 100_000  # bytes
EXTRA = 4_000  # of a pickle, beside its items


class Rows(ArrayBatch):
    components = "rows"

    @action
    def ok(self):
        return self

    @action
    def fail(self):
        error = ValueError("with its batch")
        error.batch = self
        raise error


@pytest.fixture(scope="module")
def dataset():
    return Dataset.from_arrays(Rows, rows=np.zeros((10, ITEM), "u1"))


# ---- A13: the payload


def created(dataset):
    return dataset.create_batch([0])


def next_of_pipeline(dataset):
    return dataset.p.ok().next_batch(1)


def serial(dataset):
    return next(dataset.p.ok().gen_batch(1, prefetch=0))


def threads(dataset):
    return next(dataset.p.ok().gen_batch(1, prefetch=2))


def processes(dataset):
    return next(dataset.p.ok().gen_batch(1, executor="processes", n_workers=1))


@pytest.mark.parametrize("pickler", [pickle, dill])
@pytest.mark.parametrize("make", [created, next_of_pipeline, serial, threads, processes])
def test_a13_a_pickled_batch_is_as_big_as_its_items(dataset, make, pickler):
    batch = make(dataset)
    packed = pickler.dumps(batch)
    assert ITEM < len(packed) < ITEM + EXTRA
    twin = pickler.loads(packed)
    assert (twin.rows.shape, twin.dataset, twin.pipeline) == ((1, ITEM), None, None)
    assert (twin.number, twin.indices.tolist()) == (batch.number, batch.indices.tolist())


@pytest.mark.parametrize("twin_of", [copy.copy, copy.deepcopy])
@pytest.mark.parametrize("make", [next_of_pipeline, processes])
def test_a13_a_copy_keeps_dataset_and_pipeline(dataset, make, twin_of):
    batch = make(dataset)
    twin = twin_of(batch)
    assert twin.dataset is batch.dataset is dataset
    assert twin.pipeline is batch.pipeline is not None


def test_a13_an_error_that_holds_its_batch_is_as_big_as_the_items(dataset):
    with pytest.raises(ValueError, match="with its batch") as caught:
        dataset.p.fail().run(1)
    assert caught.value.batch.dataset is dataset
    caught.value.__notes__.clear()
    assert len(pickle.dumps(caught.value)) < ITEM + EXTRA
