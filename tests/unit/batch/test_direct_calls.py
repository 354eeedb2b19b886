"""Model actions that are called on a batch, or by `super()`, get their model."""

import numpy as np
import pytest
from own_process import run_alone

from batchflow import ArgumentTypeError, ArrayBatch, Dataset, action, model
from batchflow.errors import ModelDefinitionError


class Mixin:
    @model()
    def weights():
        return {"sum": 0}

    @action(model="weights", singleton=True)
    def train(self, weights, rate):
        weights["sum"] += rate
        return self

    @action(model="weights")
    def decay(self, weights, rate=1):
        weights["sum"] -= rate
        return self


class Rows(Mixin, ArrayBatch):
    @model(mode="dynamic")
    def seen(batch):
        return [len(batch)]

    @action(model="seen")
    def look(self, seen):
        seen.append(self.number)
        return self

    @action
    def train_beside(self):
        return self.train(1)

    @action(singleton=True)
    def train_in_order(self):
        return self.train(1)


class Child(Rows):
    def train(self, weights, rate):  # it keeps the mark
        super().train(rate)
        super().train(rate=rate)
        return super().train(weights, rate)


@pytest.fixture
def weights():
    Rows.models.reset("weights")
    return Rows.models["weights"]


def first(batch_class, chain=lambda pipeline: pipeline):
    return next(chain(Dataset.from_arrays(batch_class, data=np.arange(4.0)).p).gen_batch(2))


def test_the_model_comes_from_the_directory(weights):
    batch = first(Rows)
    assert batch.train(2) is batch
    batch.train(rate=3)
    batch.decay()
    batch.decay(rate=1)
    assert weights == {"sum": 3}


def test_a_model_that_is_given_is_taken(weights):
    batch, other = first(Rows), {"sum": 10}
    batch.train(weights, 2)
    batch.train(other, rate=2)
    batch.train(weights=other, rate=2)
    batch.decay(weights)
    batch.decay(other)
    assert (weights, other) == ({"sum": 1}, {"sum": 13})


def test_super_gets_it_too_in_a_chain_and_on_a_batch(weights):
    batch = first(Child, lambda pipeline: pipeline.train(1))
    assert weights == {"sum": 3}
    batch.train(1)
    assert weights == {"sum": 6}


def test_a_dynamic_model_is_that_of_the_pipeline():
    pipeline = Dataset.from_arrays(Rows, data=np.arange(4.0)).p.look()
    next(pipeline.gen_batch(2)).look()
    assert pipeline.models["seen"] == [2, 0, 0]


def test_without_a_pipeline_the_error_has_the_line_to_write():
    batch = first(Rows)
    batch.pipeline = None
    with pytest.raises(ModelDefinitionError) as caught:
        batch.look()
    assert 'batch.look(pipeline.models["seen"], ...)' in caught.value.__notes__[0]


def test_what_may_be_the_model_or_another_argument_is_refused(weights):
    with pytest.raises(ArgumentTypeError, match=r"decay\(weights=...\) for the model"):
        first(Rows).decay(5)
    assert weights == {"sum": 0}


@pytest.mark.filterwarnings("always")
def test_a_parallel_action_that_calls_a_singleton_is_warned_of(weights):
    with pytest.warns(UserWarning, match="the singleton action 'train' is called by a parallel"):
        Dataset.from_arrays(Rows, data=np.arange(4.0)).p.train_beside().run(2, prefetch=2)


def test_an_ordered_action_that_calls_a_singleton_is_not_warned_of(weights):
    pipeline = Dataset.from_arrays(Rows, data=np.arange(4.0)).p
    pipeline.train_in_order().run(2, prefetch=2)
    pipeline.train_beside().run(2)
    for batch in pipeline.gen_batch(2, prefetch=2):
        batch.train(1)
    assert weights == {"sum": 6}


def test_a_wrong_call_is_pythons_error():
    with pytest.raises(TypeError, match="missing 2 required positional arguments"):
        first(Rows).train()


def test_the_action_in_a_chain_is_the_method_itself():
    assert Rows._actions["train"].function is not Rows.train
    assert Rows._actions["train"].function is Rows.train.__wrapped__
    assert Child._actions["train"].function is Child.train.__wrapped__


def test_a_decorator_around_an_action_stays_around_it():
    import functools

    def doubled(function):
        @functools.wraps(function)
        def call(*args):
            function(*args)
            return function(*args)

        return call

    class Doubled(ArrayBatch):
        @model()
        def counts():
            return []

        @doubled
        @action(model="counts")
        def count(self, counts):
            counts.append(self.number)
            return self

    first(Doubled, lambda pipeline: pipeline.count()).count()
    assert Doubled.models["counts"] == [0] * 4


def test_a_definition_may_be_a_static_method():
    class Static(ArrayBatch):
        @staticmethod
        @model()
        def name():
            return "net"

    assert (Static.models["name"], Static.name()) == ("net", "net")


def test_a_script_with_model_actions_can_be_saved_by_dill():
    script = """
        import dill
        from batchflow import Batch, action, model

        class Mean:
            def value(self):
                return 3

        class Work(Batch):
            @model()
            def net():
                return Mean()

            @action(model="net", singleton=True)
            def train(self, net):
                return self

        print(len(dill.loads(dill.dumps(Work))(2)), dill.loads(dill.dumps(Mean())).value())
    """
    assert run_alone(script).stdout == "2 3\n"
