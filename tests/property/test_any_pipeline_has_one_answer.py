"""Whatever is chained, and however it is run: the same as in one thread, batch by batch.

Hypothesis composes actions (random numbers, in-place writes, skips, stops, errors, training in
order, steps behind it), late values, variables, chances and repetitions, filters and maps, joined,
merged, concatenated and rebatched pipelines, models of the chain, and run options, and compares
everything that a run shows: the batches, the exception with its notes, the variables, the models.
"""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batchflow import (
    ArgumentValueError,
    ArrayBatch,
    B,
    Dataset,
    I,
    P,
    Pipeline,
    R,
    SkipBatch,
    StopPipeline,
    V,
    action,
    model,
)
from batchflow.testing import digest, hand_over_every_batch, nothing_left


class Anything(ArrayBatch):
    components = "x", "y"

    @model()
    def weights():
        return {"w": np.zeros(3), "m": np.zeros(3)}

    @model(mode="dynamic")
    def scale(batch):
        return {"first": batch.number, "mean": batch.x.mean(), "seen": 0}

    @action
    def noise(self, size):
        self.x = self.x + size * self.rng.normal(size=self.x.shape)
        return self

    @action
    def in_place(self, value):
        self.x += value
        self.y[0] = value
        return self

    @action
    def signal(self, at, what):
        if self.number in at:
            raise what(f"at {self.number}")
        return self

    @action
    def another_batch(self):
        other = type(self)(self.index)
        other.x, other.y = self.x * 2, self.y
        return other

    @action(model="weights", singleton=True)
    def train(self, weights):
        error = self.x @ weights["w"] - self.y
        weights["m"] = 0.9 * weights["m"] - 0.01 * self.x.T @ error / len(self)
        weights["w"] = weights["w"] + weights["m"]
        self.pipeline.v("loss").append(float(error @ error))
        return self

    @action(model="scale")
    def rescale(self, scale):
        scale["seen"] += 1
        self.x = self.x - scale["mean"] * scale["seen"]
        return self

    @action
    def del_extra(self):
        self.__dict__.pop("total", None)
        return self

    @action
    def total(self, factor):
        return float(self.x.sum() * factor)

    @action
    def add_joined(self, other, factor):
        self.x = self.x + factor * other.x
        return self

    @action(singleton=True)
    def count(self):
        self.pipeline.set_variable("count", self.pipeline.v("count") + self.number)
        return self


class Mean:
    """A model of a chain."""

    def __init__(self, rate=0.5):
        self.rate, self.value, self.seen = rate, 0.0, []

    def train(self, x, number):
        self.value += self.rate * (float(x.mean()) - self.value)
        self.seen.append(number)
        return self.value

    def predict(self, x):
        return x - self.value


signals = st.sampled_from([SkipBatch, StopPipeline, ValueError])
numbers = st.sets(st.integers(0, 30), max_size=3)
steps = st.one_of(
    st.tuples(st.just("noise"), st.tuples(st.floats(0, 2))),
    st.tuples(st.just("in_place"), st.tuples(st.integers(-3, 3))),
    st.tuples(st.just("signal"), st.tuples(numbers.map(frozenset), signals)),
    st.tuples(st.sampled_from(["another_batch", "train", "rescale", "count"]), st.just(())),
)
late_steps = st.sampled_from(
    [
        ("noise", (R.uniform(0, 2),), {}),
        ("in_place", (I.current * 2 - B.epoch,), {}),
        ("noise", (V("constant"),), {}),
        ("update", (V("count"), V("count") + B.number), {}),
        ("update", (V("loss", "a"), B.x.mean()), {}),
        ("update", (B.x, B.x - B.y[0]), {}),
        ("total", (R.integers(1, 4),), {"save_to": V("loss", "a")}),
        ("total", (2,), {"save_to": B.total}),
        ("noise", (V("count") % 3,), {}),
        ("call", (np.tanh, B.y), {"save_to": B.y}),
        ("discard_batch", (), {}),
        ("filter", (B.x[:, 0] > 0,), {}),
        ("filter", (lambda item: item.y < 0.5,), {}),
        ("filter", (lambda batch: batch.number % 3,), {"over": "batches"}),
        ("map", (np.negative,), {"src": "y"}),
        ("apply_parallel", (np.add, P(R.normal(0, 1))), {"src": "y", "n_workers": 2}),
        ("train_model", ("mean", B.x, B.number), {"save_to": V("loss", "a")}),
        ("train_model", ("mean", B.x, B.number), {"save_to": B.loss, "steps_per_call": 3}),
        ("predict_model", ("mean", B.x), {"save_to": B.x}),
        ("del_extra", (), {}),
    ]
)


def other_dataset(n_items, first):
    rng = np.random.default_rng(first)
    x, y = rng.normal(size=(n_items, 3)), rng.normal(size=n_items)
    return Dataset.from_arrays(Anything, np.arange(first, first + n_items), x=x, y=y)


def a_stream(n_items, batch_size, n_epochs, inner, first=20):
    pipeline = Pipeline().init_variable("loss", init_on_each_run=list).init_variable("count", 0)
    pipeline = pipeline.init_variable("constant", 0.5).init_model("mean", Mean) + inner
    return (other_dataset(n_items, first) >> pipeline).run_later(
        min(batch_size, n_items), n_epochs=n_epochs
    )


# Steps that keep what they know in the batch and in this one run.
inner_steps = st.sampled_from(
    [
        Pipeline(),
        Pipeline().noise(R.uniform(0, 2)),
        Pipeline().in_place(1).noise(1.0) @ 0.5,
        Pipeline().update(V("count"), V("count") + 1).noise(V("count")),
        Pipeline().train_model("mean", B.x, B.number).noise(0.1),
        Pipeline().train_model("mean", B.x, B.number, steps_per_call=2).noise(0.1),
        Pipeline().signal(frozenset([1, 4]), SkipBatch),
        Pipeline().signal(frozenset([6]), StopPipeline),
        Pipeline().noise(1.0).rebatch(3, drop_last=False),
    ]
)
streams = st.builds(
    a_stream,
    st.integers(1, 12),
    st.integers(1, 5),
    st.sampled_from([1, 2, None]),
    inner_steps,
    st.sampled_from([0, 20]),
)
joined = inner_steps.filter(lambda inner: "rebatch" not in repr(inner)).map(
    lambda inner: a_stream(60, 1, 1, inner, 0)
)
regroupings = st.one_of(
    st.tuples(st.integers(1, 12), st.sampled_from([None, True, False])).map(
        lambda pair: Pipeline().del_extra().rebatch(pair[0], drop_last=pair[1])
    ),
    streams.map(lambda other: Pipeline().del_extra().merge(other)),
    streams.filter(lambda other: other._ahead[1]["n_epochs"]).map(
        lambda other: Pipeline().concat(other)
    ),
    joined.map(lambda other: Pipeline().join(other).add_joined(R.uniform(0, 1))),
)
piece_of_one = st.one_of(
    steps.map(lambda step: getattr(Pipeline(), step[0])(*step[1])),
    late_steps.map(lambda step: getattr(Pipeline(), step[0])(*step[1], **step[2])),
)
pieces = st.recursive(
    piece_of_one,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(lambda two: two[0] + two[1]),
        st.tuples(inner, st.integers(0, 3)).map(lambda pair: pair[0] * pair[1]),
        st.tuples(inner, st.floats(0, 1)).map(lambda pair: pair[0] @ pair[1]),
    ),
    max_leaves=8,
)
chains = st.lists(pieces, max_size=4).map(lambda parts: sum(parts, Pipeline()))
regrouping_chains = st.lists(
    st.one_of(pieces, regroupings, regroupings), min_size=1, max_size=5
).map(lambda parts: sum(parts, Pipeline()))
options = st.fixed_dictionaries(
    {
        "shuffle": st.sampled_from([False, True, 3]),
        "drop_last": st.booleans(),
        "seed": st.integers(0, 2**70),
    },
    optional={"n_epochs": st.integers(1, 3), "n_iters": st.integers(1, 25)},
)
parallelisms = st.fixed_dictionaries(
    {"prefetch": st.sampled_from([1, 2, 5, 16])}, optional={"n_workers": st.integers(1, 6)}
)


def story(chain, n_items, batch_size, leave_after, **run_options):
    """Everything that a run shows."""
    Anything.models.reset("weights")
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(n_items, 3)), rng.normal(size=n_items)
    untouched = digest(x, y)
    pipeline = Dataset.from_arrays(Anything, x=x, y=y).p
    pipeline = pipeline.init_variable("loss", init=list).init_variable("count", 0)
    pipeline = pipeline.init_variable("constant", 0.5).init_model("mean", Mean) + chain
    told = []
    try:
        pipeline._bound_plan()
    except ArgumentValueError as error:  # groups of batches where they would change something
        if "steps_per_call" not in str(error):
            raise
        return str(error)
    reset_nested(pipeline)
    try:
        with pipeline.gen_batch(batch_size, **run_options) as run:
            for batch in run:
                data = digest(batch.indices, batch.x, batch.y)
                told.append((batch.number, batch.epoch, batch.source_numbers, data))
                if len(told) == leave_after:
                    break
    except (ValueError, KeyError) as error:
        told.append((str(error), getattr(error, "__notes__", None)))
    assert digest(x, y) == untouched
    weights = pipeline.models["weights"]
    told.append((pipeline.v("loss"), pipeline.v("count"), digest(weights["w"], weights["m"])))
    told.append((pipeline.m("mean").value, pipeline.m("mean").seen))
    for nested in all_nested(pipeline):
        told.append((nested.v("count"), nested.m("mean").seen))
    return told


def all_nested(pipeline):
    for nested in pipeline._bound_plan().nested:
        yield nested
        yield from all_nested(nested)


def reset_nested(pipeline):
    """Forget what the run before has left in the pipelines inside of this one."""
    for nested in all_nested(pipeline):
        nested.reset("all")


def check(chain, n_items, batch_size, leave_after, run_options, parallelism):
    args = (chain, n_items, min(batch_size, n_items), leave_after)
    if run_options["drop_last"] and n_items < batch_size:
        run_options = {**run_options, "drop_last": False}
    with np.errstate(all="ignore"):  # repeated doubling overflows; so it does in every thread
        expected = story(*args, executor="serial", **run_options)
        assert story(*args, **parallelism, **run_options) == expected
        with hand_over_every_batch():
            assert story(*args, **parallelism, **run_options) == expected


any_case = given(
    chain=chains,
    n_items=st.integers(1, 40),
    batch_size=st.integers(1, 9),
    leave_after=st.none() | st.integers(1, 12),
    run_options=options,
    parallelism=parallelisms,
)
any_regrouping_case = given(
    chain=regrouping_chains,
    n_items=st.integers(4, 60),
    batch_size=st.integers(1, 6),
    leave_after=st.none() | st.integers(3, 20),
    run_options=options,
    parallelism=parallelisms,
)
lasting = settings(deadline=None, suppress_health_check=list(HealthCheck))


@any_case
@settings(lasting, max_examples=300)
def test_any_pipeline_has_one_answer(**case):
    check(**case)


@any_regrouping_case
@settings(lasting, max_examples=300)
def test_any_pipeline_that_regroups_has_one_answer(**case):
    check(**case)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@any_regrouping_case
@settings(lasting, max_examples=5_000)
def test_thousands_of_pipelines_that_regroup_have_one_answer(**case):
    check(**case)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@any_case
@settings(lasting, max_examples=10_000)
def test_thousands_of_pipelines_have_one_answer(**case):
    check(**case)


def test_no_pipeline_leaves_anything_behind():
    with nothing_left():
        cases = any_case(settings(lasting, max_examples=50)(lambda **case: check(**case)))
        cases()
