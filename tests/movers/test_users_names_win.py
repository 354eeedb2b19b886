"""A component or an action may have every name but those that steer a run, and then it wins.

The names are all public names of this package's batches, pipelines, datasets and indexes, so a word
that is added later is tried as well.
"""

import copy
import pickle

import numpy as np
import pytest

from batchflow import ArgumentValueError, ArrayBatch, B, Batch, Dataset, DatasetIndex, action
from batchflow.batch.actions import RESERVED
from batchflow.batch.components import METHODS, TAKEN

# By hand, so that a name which is added to them fails here.
STEERING = {
    *("run", "run_now", "run_later", "gen_batch", "next_batch", "execute_for", "reset", "v", "m"),
    *("get_variable", "set_variable", "init_variable", "init_variables", "delete_variable"),
    *("has_variable", "init_model", "dataset", "config", "models", "seed", "before", "after"),
    *("main", "feed", "check", "debug", "replay", "pipeline", "index", "indices", "rng"),
}
OF_BATCHES = {
    *("components", "create_subset", "data", "deepcopy", "epoch", "get_model_by_name", "number"),
    *("source_ids", "source_numbers"),
}
NO_COMPONENTS = {"apply_parallel", "load", "merge"}
OLDER = {
    *("size", "items", "get", "get_pos", "get_errors", "assemble", "array_of_nones"),
    *("add_components", "profile", "dump", "set_config", "update_variable", "save_model_now"),
    *("shape", "sampler", "update_config", "gather_metrics", "random", "mode", "p", "name"),
}
OWNERS = [Batch(1), Dataset(1), Dataset(1).p, DatasetIndex(1)]
NAMES = sorted({n for owner in OWNERS for n in dir(owner) if not n.startswith("_")} | OLDER)
COMPONENTS = [n for n in NAMES if n not in STEERING | OF_BATCHES | NO_COMPONENTS]
ACTIONS = [n for n in NAMES if n not in STEERING | OF_BATCHES]


def test_no_other_names_are_reserved():
    assert (RESERVED, TAKEN, METHODS) == (STEERING, OF_BATCHES, NO_COMPONENTS)
    assert len(COMPONENTS) > 40
    assert {"size", "items", "get", "profile", "split", "join", "filter"} <= {*COMPONENTS}


def with_component(name, base=ArrayBatch):
    def double(self):
        setattr(self, name, getattr(self, name) * 2)
        return self

    return type("Mine", (base,), {"components": (name, "label"), "double": action(double)})


def dataset_with(name, base=ArrayBatch, n_items=6):
    cls = with_component(name, base)
    return Dataset(n_items, cls, preloaded=(np.arange(float(n_items)), np.arange(n_items)))


def values(batches, name):
    return [getattr(batch, name).tolist() for batch in batches]


@pytest.mark.parametrize("name", COMPONENTS)
def test_a_component_of_this_name_wins(name):
    dataset = dataset_with(name)
    place = B(name)
    chain = dataset.p.double().filter(place != 2).rebatch(4).update(place, place + 1)
    expected = [[1.0, 5.0, 7.0, 9.0], [11.0]]
    assert values(chain.gen_batch(3), name) == values(chain.gen_batch(3, prefetch=2), name)
    assert values(chain.gen_batch(3), name) == expected
    batch = dataset.next_batch(3)
    assert getattr(batch[1], name) == 1.0
    for twin in (batch.deepcopy(), copy.copy(batch), pickle.loads(pickle.dumps(batch.data))):
        got = twin[0] if isinstance(twin, tuple) else getattr(twin, name)
        assert got.tolist() == [0.0, 1.0, 2.0]
    assert getattr(batch[[2, 0]], name).tolist() == [2.0, 0.0]
    assert getattr(type(batch).merge([batch, batch]), name).tolist() == [0.0, 1.0, 2.0] * 2


@pytest.mark.parametrize("base", [Batch, ArrayBatch])
@pytest.mark.parametrize("name", COMPONENTS)
def test_a_component_of_this_name_is_none_at_first_and_goes_by_label(name, base):
    pandas = pytest.importorskip("pandas")
    cls = with_component(name, base)
    batch = cls(["a", "b"])
    assert getattr(batch, name) is None
    setattr(batch, name, pandas.Series([1, 2], ["b", "a"]))
    assert np.asarray(getattr(batch, name)).tolist() == [2, 1]


@pytest.mark.parametrize("name", COMPONENTS)
def test_a_component_of_this_name_is_worked_on_item_by_item(name):
    chain = dataset_with(name).p.apply_parallel(np.negative, src=name)
    assert values([chain.next_batch(3)], name) == [[0.0, -1.0, -2.0]]


@pytest.mark.parametrize("name", ACTIONS)
def test_an_action_of_this_name_wins(name):
    def add(self, by=1, *, twice=False):
        self.data = self.data + by * (1 + twice)
        return self

    cls = type("Mine", (ArrayBatch,), {name: action(add)})
    dataset = Dataset.from_arrays(cls, data=[1, 2, 3])
    chain = getattr(dataset.p, name)(10, twice=True)
    assert chain.next_batch(3).data.tolist() == [21, 22, 23]
    assert next(chain.gen_batch(3, prefetch=2)).data.tolist() == [21, 22, 23]
    assert getattr(dataset.next_batch(3), name)(5).data.tolist() == [6, 7, 8]


@pytest.mark.parametrize("name", sorted((STEERING | OF_BATCHES) - {"components"}))
def test_a_name_that_steers_a_run_is_refused(name):
    with pytest.raises(ArgumentValueError, match=name):
        type("Mine", (Batch,), {name: action(lambda self: self)})


@pytest.mark.parametrize("name", sorted(OLDER - {"p"}))
def test_an_attribute_or_a_method_of_this_name_wins(name):
    """Also one of a class that stands behind `Batch`."""

    class Mixin:
        pass

    setattr(Mixin, name, "the mixin's")

    class Behind(Batch, Mixin):
        pass

    class Set(Batch):
        def __init__(self, index, *args, **kwargs):
            super().__init__(index, *args, **kwargs)
            setattr(self, name, "the constructor's")

    assert getattr(Behind(2), name) == "the mixin's"
    assert getattr(Set(2), name) == "the constructor's"
    assert Dataset(2, Set).p.call(getattr, B(), name, save_to=B.seen).next_batch(2).seen == (
        "the constructor's"
    )
