"""Copies of a batch: components to the depth, everything else shared."""

import copy
import pickle

import numpy as np
import pytest
from kit import Pair

from batchflow import ArrayBatch, Batch, Dataset

COPIES = {"method": lambda batch: batch.deepcopy(), "module": copy.deepcopy}
each_way = pytest.mark.parametrize("way", COPIES)


class Nested(Batch):
    components = "items"


@pytest.fixture
def batch():
    dataset = Dataset.from_arrays(Pair, images=np.arange(4), labels=np.arange(4))
    return list(dataset.p.gen_batch(2, seed=5))[1]


@each_way
def test_a_copy_has_the_class_and_the_values(batch, way):
    twin = COPIES[way](batch)
    assert (type(twin), twin.images.tolist()) == (Pair, [2, 3])


@each_way
def test_work_on_a_copy_does_not_reach_the_batch(batch, way):
    COPIES[way](batch).images[:] = 0
    assert batch.images.tolist() == [2, 3]


@each_way
def test_components_are_copied_to_the_depth(way):
    original = Nested(1)
    original.items = [{"a": [1]}]
    COPIES[way](original).items[0]["a"].append(2)
    assert original.items == [{"a": [1]}]


@each_way
def test_data_without_components_is_copied_to_the_depth(way):
    original = Batch(1)
    original.data = [[1]]
    COPIES[way](original).data[0].append(2)
    assert original.data == [[1]]


@each_way
@pytest.mark.parametrize("name", ["index", "dataset", "pipeline", "number", "epoch"])
def test_the_place_in_the_run_is_shared(batch, way, name):
    assert getattr(COPIES[way](batch), name) is getattr(batch, name)


@each_way
def test_other_attributes_are_shared(batch, way):
    batch.helper = [1]
    assert COPIES[way](batch).helper is batch.helper


@each_way
def test_an_attribute_of_a_copy_is_its_own(batch, way):
    COPIES[way](batch).images = np.zeros(2)
    assert batch.images.tolist() == [2, 3]


@each_way
@pytest.mark.parametrize("is_used", [True, False])
def test_the_generator_of_a_copy_goes_on_from_the_same_state(batch, way, is_used):
    if is_used:
        batch.rng.random()
    assert COPIES[way](batch).rng.random() == batch.rng.random()


@each_way
def test_draws_of_a_copy_do_not_move_the_batchs_generator(batch, way):
    state = batch.rng.bit_generator.state
    COPIES[way](batch).rng.random()
    assert batch.rng.bit_generator.state == state


def test_a_batch_that_holds_itself_can_be_copied():
    original = Nested(1)
    original.items = [original]
    twin = original.deepcopy()
    assert twin.items[0] is twin


def test_the_constructor_is_not_run_again():
    class Counting(Batch):
        made = 0

        def __init__(self, index, *args, **kwargs):
            super().__init__(index, *args, **kwargs)
            Counting.made += 1

    Counting(1).deepcopy()
    assert Counting.made == 1


def test_a_shallow_copy_shares_the_components(batch):
    assert copy.copy(batch).images is batch.images


def test_a_shallow_copy_has_attributes_of_its_own(batch):
    copy.copy(batch).images = np.zeros(2)
    assert batch.images.tolist() == [2, 3]


def test_a_pickled_batch_has_its_values_and_its_generator():
    original = ArrayBatch(2)
    original.data = [1, 2]
    original.rng.random()
    twin = pickle.loads(pickle.dumps(original))
    assert (twin.data.tolist(), twin.rng.random()) == ([1, 2], original.rng.random())


def test_a_pickled_merged_batch_keeps_its_source_ids():
    single = Batch([7])
    twin = pickle.loads(pickle.dumps(Batch.merge([single, single])))
    assert twin.source_ids.tolist() == [7, 7]
