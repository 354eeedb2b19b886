"""`evaluate_model`: the word that tests, for objects of any kind."""

import numpy as np
import pytest

from batchflow import ArgumentTypeError, ArrayBatch, B, Dataset, V

from .conftest import PREFETCH, each_prefetch


class Mean:
    def __init__(self):
        self.value = 0.0

    def train(self, x):
        self.value += 0.5 * (float(x.mean()) - self.value)

    def evaluate(self, x):
        return {"error": abs(float(x.mean()) - self.value), "n": len(x)}


@pytest.fixture
def dataset():
    return Dataset.from_arrays(ArrayBatch, data=np.arange(12.0))


def evaluated(dataset, **options):
    chain = dataset.p.init_model("mean", Mean).init_variable("scores", init=list)
    chain = chain.train_model("mean", B.data)
    return chain.evaluate_model("mean", B.data, save_to=V("scores", "a"), **options)


def test_it_sees_the_model_as_its_batch_has_left_it_at_every_prefetch(dataset):
    runs = [evaluated(dataset).run(4, prefetch=n).v("scores") for n in PREFETCH]
    assert runs == [[{"error": e, "n": 4} for e in (0.75, 2.375, 3.1875)]] * len(PREFETCH)


def test_fetches_choose_from_what_it_gives(dataset):
    assert evaluated(dataset, fetches=["n", "error"]).run(12).v("scores") == [[12, 2.75]]


@each_prefetch
def test_a_pipeline_that_only_tests_tests_in_order(dataset, prefetch):
    class Counts:
        n = 0

        def score(self, x):
            self.n += len(x)
            return self.n

    chain = dataset.p.init_model("net", Counts).init_variable("n", init=list)
    chain = chain.evaluate_model("net", B.data, save_to=V("n", "a"))
    assert chain.run(3, prefetch=prefetch).v("n") == [3, 6, 9, 12]


def test_it_is_no_training_that_is_done_again(dataset, recwarn):
    chain = dataset.p.init_model("mean", Mean).evaluate_model("mean", B.data)
    for _ in range(3):
        chain.run(4, seed=1)
    assert not recwarn.list


def test_an_object_without_a_test_is_refused_by_name(dataset):
    chain = dataset.p.init_model("net", dict).evaluate_model("net", B.data)
    with pytest.raises(ArgumentTypeError, match=r"class dict cannot be evaluated.*score"):
        chain.run(4)
