"""Components that a batch has beside those of its class: they take values as declared ones do."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest

from batchflow import (
    ArgumentValueError,
    ArrayBatch,
    B,
    Batch,
    Dataset,
    UnknownAttributeError,
    action,
)


class Arrays(ArrayBatch):
    components = "x"


class Anything(Batch):
    components = "x"


def by_load(batch):
    return batch.load(np.zeros(len(batch)), dst="new")


def by_add_components(batch):
    return batch.add_components("new")


def by_apply_parallel(batch):
    batch.x = [0] * len(batch)
    return batch.apply_parallel(abs, src="x", dst="new")


def by_pickle(batch):
    return pickle.loads(pickle.dumps(by_load(batch)))


WAYS = [by_load, by_add_components, by_apply_parallel, by_pickle]
each_way = pytest.mark.parametrize("way", [*WAYS, lambda b: copy.deepcopy(by_load(b))])
each_class = pytest.mark.parametrize("cls", [Arrays, Anything])
BY_LABEL = pd.Series([3, 1, 2], index=["c", "a", "b"])


def ids():
    return ["a", "b", "c"]


@each_way
@each_class
def test_what_is_assigned_goes_by_label(cls, way):
    batch = way(cls(ids()))
    batch.new = BY_LABEL
    assert np.asarray(batch.new).tolist() == [1, 2, 3]


@each_way
def test_what_is_assigned_is_made_an_array(way):
    batch = way(Arrays(ids()))
    batch.new = [1, 2, 3]
    assert batch.new.dtype == int


@each_way
def test_another_number_of_rows_is_refused(way):
    batch = way(Arrays(ids()))
    with pytest.raises(ArgumentValueError, match=r"Arrays\.new: expected 3 items, got 2"):
        batch.new = [1, 2]


def test_data_fills_it_alike():
    batch = by_load(Arrays(ids()))
    batch.data = BY_LABEL * 10, BY_LABEL
    assert (batch.x.tolist(), batch.new.tolist()) == ([10, 20, 30], [1, 2, 3])


def test_a_step_that_assigns_in_workers_has_it_go_by_label():
    class Adding(ArrayBatch):
        components = "x"

        @action
        def renew(self):
            self.new = BY_LABEL.loc[self.indices[::-1]]
            return self

    dataset = Dataset(ids(), Adding, preloaded=([0, 0, 0],))
    pipeline = dataset.p.load([5, 5, 5], dst="new").renew()
    processes = {"executor": "processes", "n_workers": 1}
    for options in ({}, {"prefetch": 2}, processes):
        [batch] = pipeline.gen_batch(3, **options)
        assert batch.new.tolist() == [1, 2, 3]
        batch.new = BY_LABEL + 1
        assert batch.new.tolist() == [2, 3, 4]


def test_what_is_refused_is_not_added():
    batch = Arrays(ids())
    with pytest.raises(ArgumentValueError):
        batch.add_components("new", [1, 2])
    assert batch.components == ("x",)
    assert not hasattr(batch, "new")


def test_other_batches_of_the_class_have_no_such_component():
    by_load(Arrays(ids()))
    other = Arrays(ids())
    with pytest.raises(UnknownAttributeError, match="has no 'new'"):
        other.new  # noqa: B018
    other.new = 5  # an attribute of the user's own
    assert other.new == 5
    del other.new
    assert not hasattr(other, "new")


def test_what_the_class_has_there_stays_for_other_batches():
    class Own(ArrayBatch):
        components = "x"
        new = 7

    added = by_load(Own(ids()))
    assert added.new.tolist() == [0, 0, 0]
    assert (Own(ids()).new, Own.new) == (7, 7)


def test_a_property_of_the_class_is_the_users():
    class Own(ArrayBatch):
        components = "x"

        @property
        def new(self):
            return self.__dict__["kept"]

        @new.setter
        def new(self, value):
            self.__dict__["kept"] = value

    assert by_load(Own(ids())).new.tolist() == [0, 0, 0]


def test_late_values_fill_it_alike():
    batch = (
        Dataset(ids(), Arrays).p.load([0, 0, 0], dst="new").update(B.new, BY_LABEL).next_batch(3)
    )
    assert batch.new.tolist() == [1, 2, 3]
