"""Several training steps in one call, and metrics that go on: what single steps leave and give."""

import numpy as np
import pytest
from kit import Rows
from models.keras_nets import (
    BATCHES,
    MODELS,
    X,
    Y,
    by_keras,
    dense,
    everything,
    measured,
    momentum,
    same,
    seeded,
    unbuilt,
)

from batchflow import B, Dataset, V
from batchflow.errors import ArgumentTypeError, ArgumentValueError
from batchflow.models import train_step, train_steps
from batchflow.models.calls import train, train_several

pytestmark = pytest.mark.tensorflow
WEIGHTS = np.linspace(0, 2, 48).astype("float32")
FOUR = BATCHES[:4]  # of one shape


def with_mae(keras):
    return dense(keras, momentum(keras), metrics=["mae"])


def counting(keras, traced):
    class Counts(keras.Sequential):
        def train_step(self, *args):
            traced.append(args[-1][0].shape[0])
            return super().train_step(*args)

    net = Counts([keras.Input((8, 8, 2)), keras.layers.Flatten(), keras.layers.Dense(1)])
    net.compile("sgd", "mse")
    return net


# ---- several steps


@pytest.mark.parametrize(
    ("name", "weighted"),
    [
        *(("dense, sgd", False), ("schedule, clipped", False), ("adam and metrics", True)),
        *(("nothing built", False), ("a train_step of its own", False), ("eagerly", False)),
    ],
)
def test_steps_in_one_call_are_single_steps_bit_for_bit(keras, name, weighted):
    ours, theirs = (seeded(keras, MODELS[name]) for _ in range(2))
    batches = [(X[p], Y[p], WEIGHTS[p]) if weighted else (X[p], Y[p]) for p in BATCHES]
    order = [0, 1, 2, 3, 1, 0, 4]  # groups of 2, and a rest of one
    losses = []
    for start in range(0, len(order), 2):
        losses += train_steps(ours, [batches[n] for n in order[start : start + 2]])
    expected = [by_keras(theirs, *batches[n]) for n in order]
    assert losses == [logs["loss"] for logs in expected]
    assert same(ours, theirs)
    for one, other in zip(ours.metrics_variables, theirs.metrics_variables, strict=True):
        np.testing.assert_array_equal(one, other)


def test_each_call_gives_what_a_single_one_would(keras):
    ours, theirs = (seeded(keras, with_mae) for _ in range(2))
    calls = [((X[p], Y[p]), {"sample_weight": WEIGHTS[p]}) for p in FOUR[:2]] * 2
    told = train_several(ours, calls, [["mae", "loss"]] * len(calls))
    assert told == [train(theirs, *call, ["mae", "loss"]) for call in calls]
    calls = [((X[p],), {"y": Y[p], "return_dict": True}) for p in FOUR]
    assert train_several(ours, calls) == [train(theirs, *call) for call in calls]
    assert same(ours, theirs)


ODD = {
    "the last is smaller": [(X[:10], Y[:10]), (X[:8], Y[:8])],
    "one has weights": [(X[:10], Y[:10]), (X[:10], Y[:10], WEIGHTS[:10])],
    "one": [(X[:10], Y[:10])],
    "none": [],
}


@pytest.mark.parametrize("case", ODD)
def test_batches_that_are_not_alike_are_single_steps(keras, case):
    ours, theirs = (seeded(keras, with_mae) for _ in range(2))
    train_steps(ours, ODD["one"] * 2)
    train_steps(theirs, ODD["one"] * 2)
    told = train_steps(ours, ODD[case])
    assert told == [by_keras(theirs, *batch)["loss"] for batch in ODD[case]]
    assert same(ours, theirs)


def test_class_weights_in_a_group_are_those_of_keras(keras):
    ours, theirs = (seeded(keras, dense) for _ in range(2))
    weights = {"class_weight": {0: 0.5, 1: 2.0}}
    told = train_several(ours, [((X[p], Y[p]), weights) for p in FOUR])
    assert told == [by_keras(theirs, X[p], Y[p], **weights)["loss"] for p in FOUR]
    assert same(ours, theirs)


@pytest.mark.backends("tensorflow", "jax")
def test_the_rest_of_an_epoch_is_compiled_for_no_number_of_its_own(keras):
    traced = []
    net = counting(keras, traced)
    batches = [(X[p], Y[p]) for p in FOUR]
    train_steps(net, batches[:1])
    train_steps(net, batches[:3], n_per_call=3)
    n_traced = len(traced)
    for n in (1, 2, 3, 2, 1, 3):
        train_steps(net, batches[:n], n_per_call=3)
        train_several(net, [(batch, {}) for batch in batches[:n]], n_per_call=3)
    assert len(traced) == n_traced


def test_other_models_are_trained_one_by_one():
    class Mean:
        total = 0

        def train(self, x, fetches):
            self.total += x
            return fetches, self.total

    assert train_several(Mean(), [((1,), {}), ((2,), {})], ["t", "t"]) == [("t", 1), ("t", 3)]


def test_fit_and_evaluate_between_groups_disturb_nothing(keras):
    ours, theirs = (seeded(keras, measured) for _ in range(2))
    batches = [(X[p], Y[p]) for p in FOUR[:2]]
    for net in (ours, theirs):
        for _ in range(3):
            told = train_steps(net, batches, n_per_call=2 if net is ours else 100)
            net.fit(X, Y, batch_size=12, shuffle=False, verbose=0)
            net.evaluate(X, Y, verbose=0)
            net.predict_on_batch(X)
            net.optimizer.learning_rate = 0.05
            net.set_weights([weight / 2 for weight in net.get_weights()])
            train_step(net, X[:10], Y[:10])
    assert told == [pytest.approx(float(loss)) for loss in told]
    assert same(ours, theirs)


def test_a_group_in_a_chain_saves_one_loss_per_batch_in_order(keras):
    def history(**options):
        chain = Dataset.from_arrays(Rows, x=X, y=Y).p.init_variable("loss", init=list)
        chain = chain.init_model("net", lambda: seeded(keras, everything))
        store = V("loss", mode="a")
        chain = chain.train_model("net", B.x, B.y, fetches="loss", save_to=store, **options)
        chain = chain.run(10, n_epochs=2)
        return chain.v("loss"), chain.m("net")

    (grouped, ours), (single, theirs) = history(steps_per_call=2), history()
    assert grouped == single
    assert len(grouped) == 10
    assert same(ours, theirs)


def test_what_is_no_batch_is_refused(keras):
    net = dense(keras)
    with pytest.raises(ArgumentValueError, match=r"\(x, y\)"):
        train_steps(net, [()])
    with pytest.raises(ArgumentTypeError, match=r"takes x, y, .*got 1 by position and z by name"):
        train(net, (X[:10],), {"z": 1})


# ---- metrics that go on


@pytest.mark.parametrize("name", ["dense", "unbuilt", "eager"])
def test_metrics_that_are_not_reset_go_on_as_in_fit(keras, name):
    make = {
        "dense": lambda keras: dense(keras, metrics=["mae"]),
        "unbuilt": unbuilt,
        "eager": lambda keras: dense(keras, metrics=["mae"], run_eagerly=True),
    }[name]
    ours, theirs = (seeded(keras, make) for _ in range(2))
    for _ in range(3):
        history = theirs.fit(X, Y, batch_size=10, shuffle=False, verbose=0).history
        ours.reset_metrics()
        for p in BATCHES:
            logs = train(ours, (X[p], Y[p]), {"reset_metrics": False, "return_dict": True})
        assert logs == {name: pytest.approx(value[0]) for name, value in history.items()}
    assert same(ours, theirs)


def test_metrics_that_go_on_are_kerass_bit_for_bit(keras):
    ours, theirs = (seeded(keras, measured) for _ in range(2))
    by_keras(theirs, X[:10], Y[:10])
    train_step(ours, X[:10], Y[:10])
    object.__setattr__(theirs, "reset_metrics", lambda: None)
    for p in BATCHES:
        told = train(ours, (X[p], Y[p]), {"reset_metrics": False, "return_dict": True})
        assert told == by_keras(theirs, X[p], Y[p])
    object.__delattr__(theirs, "reset_metrics")
    assert train_step(ours, X[:10], Y[:10]) == by_keras(theirs, X[:10], Y[:10])["loss"]
    assert same(ours, theirs)


@pytest.mark.parametrize("resets", [(0, 0, 0, 0), (1, 0, 0, 0), (0, 1, 1, 1), (0, 0, 1, 0)])
def test_in_one_call_they_go_on_too(keras, resets):
    ours, theirs = (seeded(keras, with_mae) for _ in range(2))
    calls = [
        ((X[p], Y[p]), {"reset_metrics": bool(reset), "return_dict": True})
        for p, reset in zip(FOUR, resets, strict=True)
    ]
    for _ in range(3):
        assert train_several(ours, calls) == [train(theirs, *call) for call in calls]
    assert same(ours, theirs)
    for one, other in zip(ours.metrics_variables, theirs.metrics_variables, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.backends("tensorflow", "jax")
def test_metrics_that_go_on_are_compiled_once(keras):
    traced = []
    net = counting(keras, traced)
    for reset_metrics in (True, False):
        train_step(net, X[:10], Y[:10], reset_metrics=reset_metrics)
    n_traced = len(traced)
    for reset_metrics in (True, False, False, True, False):
        train_step(net, X[:10], Y[:10], reset_metrics=reset_metrics)
    assert len(traced) == n_traced


def test_class_weights_let_metrics_go_on(keras):
    net, other = (seeded(keras, dense) for _ in range(2))
    weights = {"class_weight": {0: 1.0, 1: 1.0}, "reset_metrics": False}
    told = [train(net, (X[p], Y[p]), weights) for p in FOUR]
    assert told == [train_step(other, X[p], Y[p], reset_metrics=False) for p in FOUR]
    assert "reset_metrics" not in net.__dict__
