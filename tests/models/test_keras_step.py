"""The compiled training step: the bits of `train_on_batch`, and values that nobody waits for."""

import copy
import functools
import gc
import pickle
import weakref

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
    same,
    seeded,
)

from batchflow import B, Dataset, V
from batchflow.errors import ArgumentTypeError, UnknownNameError
from batchflow.models import LazyValue, step, train_step, train_steps
from batchflow.models.calls import train
from batchflow.models.keras_state import state_variables

pytestmark = pytest.mark.tensorflow
keras_warns = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.mark.parametrize(
    ("name", "weighted"),
    [*((name, False) for name in MODELS), ("loss scale, weighted metrics", True)],
)
def test_a_step_is_train_on_batch_bit_for_bit(keras, name, weighted):
    ours, theirs = (seeded(keras, MODELS[name]) for _ in range(2))
    weights = np.linspace(0, 2, 48).astype("float32") if weighted else None
    told, expected = [], []
    for part in [*BATCHES, *BATCHES]:
        w = weights[part] if weighted else None
        told.append(train(ours, (X[part], Y[part], w), {"return_dict": True}))
        expected.append(by_keras(theirs, X[part], Y[part], w))
    assert told == expected
    assert [list(logs) for logs in told] == [list(logs) for logs in expected]
    assert same(ours, theirs)
    for one, other in zip(ours.metrics_variables, theirs.metrics_variables, strict=True):
        np.testing.assert_array_equal(one, other)  # what the metrics hold is the same, too


@pytest.mark.parametrize("kind", ["list", "dict"])
def test_several_inputs_and_outputs(keras, kind):
    def make(keras):
        a, b = (keras.Input((3,), name=name) for name in "ab")
        both = keras.layers.Concatenate()([a, b])
        u, v = (keras.layers.Dense(1, name=name)(both) for name in "uv")
        if kind == "list":
            net = keras.Model([a, b], [u, v])
            net.compile("sgd", ["mse", "mae"], loss_weights=[1, 2], metrics=[["mae"], ["mse"]])
        else:
            net = keras.Model({"a": a, "b": b}, {"u": u, "v": v})
            net.compile("sgd", {"u": "mse", "v": "mae"}, metrics={"u": ["mae"], "v": ["mse"]})
        return net

    ours, theirs = seeded(keras, make), seeded(keras, make)
    p, q = X[..., 0, 0][:, :3], X[..., 1, 1][:, :3]
    for part in BATCHES:
        x = [p[part], q[part]] if kind == "list" else {"a": p[part], "b": q[part]}
        y = [Y[part], -Y[part]] if kind == "list" else {"u": Y[part], "v": -Y[part]}
        logs = by_keras(theirs, x, y)
        assert train(ours, (x,), {"y": y, "return_dict": True}) == logs
        assert len(logs) == 5
    assert same(ours, theirs)


LARGE = np.random.default_rng(3).integers(0, 4, (128, 8, 8, 2))  # 64 KB and more
FORMS = {
    "float32": LARGE.astype("f4"),
    "float64 in another order": np.asfortranarray(LARGE.astype("f8")),
    "uint8 backwards": LARGE.astype("u1")[::-1, ::-1],
}


@pytest.mark.parametrize("form", FORMS)
def test_large_arrays_give_the_bits_of_train_on_batch(keras, form):
    x, y = FORMS[form], LARGE[:, 0, 0, :1].astype("f4")
    ours, theirs = (seeded(keras, dense) for _ in range(2))
    for part in (slice(0, 64), slice(64, 128)):
        given = x[part].copy(order="K")
        told = train(ours, (given, y[part]), {"return_dict": True})
        given[...] = 0
        assert told == by_keras(theirs, x[part], y[part])
    assert same(ours, theirs)


def test_what_is_written_into_a_batch_behind_a_step_changes_no_step(keras):
    # Large enough for the call to return before the step is done, where a backend does that.
    images = np.random.default_rng(0).normal(size=(512, 1000)).astype("f4")

    def wide(keras):
        net = keras.Sequential(
            [keras.Input((1000,)), keras.layers.Dense(2000), keras.layers.Dense(1)]
        )
        net.compile("sgd", "mse")
        return net

    def losses(*, spoils):
        net, told = seeded(keras, wide), []
        for _ in range(6):
            x, y = images.copy(), images[:, :1].copy()
            told.append(train_step(net, x, y))
            if spoils:
                x[...] = y[...] = 0
        return [float(loss) for loss in told]

    assert losses(spoils=True) == losses(spoils=False)


def test_fit_evaluate_and_predict_in_between_disturb_nothing(keras):
    ours, theirs = (seeded(keras, measured) for _ in range(2))
    for do, net in ((train_step, ours), (type(theirs).train_on_batch, theirs)):
        step = functools.partial(do, net)
        step(X[:10], Y[:10])
        net.fit(X, Y, batch_size=12, shuffle=False, verbose=0)
        step(X[:10], Y[:10])
        net.evaluate(X, Y, verbose=0)
        net.predict(X, verbose=0)
        net.train_on_batch(X[:10], Y[:10])
        step(X[:10], Y[:10])
    assert same(ours, theirs)
    assert all(np.asarray(weight).size for weight in ours.weights)


def test_a_model_that_is_compiled_anew_gets_a_new_step(keras):
    ours, theirs = (seeded(keras, everything) for _ in range(2))
    for net, do in [(ours, train_step), (theirs, type(theirs).train_on_batch)]:
        do(net, X[:10], Y[:10])
        net.layers[0].trainable = False
        net.compile("rmsprop", "mse", metrics=["mae"])
        do(net, X[:10], Y[:10])
        net.layers[0].trainable = True
        net.compile("sgd", "mae")
        do(net, X[:10], Y[:10])
    assert same(ours, theirs)


def test_what_is_assigned_between_steps_is_seen(keras):
    ours, theirs = (seeded(keras, everything) for _ in range(2))
    for net, do in [(ours, train_step), (theirs, type(theirs).train_on_batch)]:
        do(net, X[:10], Y[:10])
        net.optimizer.learning_rate = 0.5
        net.set_weights([weight / 2 for weight in net.get_weights()])
        do(net, X[:10], Y[:10])
    assert same(ours, theirs)


@pytest.mark.backends("tensorflow")
def test_batch_sizes_without_end_are_traced_twice(keras):
    traced = []

    class Counts(keras.Sequential):
        def train_step(self, data):
            traced.append(data[0].shape[0])
            return super().train_step(data)

    net = Counts([keras.Input((8, 8, 2)), keras.layers.Flatten(), keras.layers.Dense(1)])
    net.compile("sgd", "mse")
    for size in (10, 10, 8, 10, 7, 3, 1, 8):
        train_step(net, X[:size], Y[:size])
    assert traced == [10, None]
    net.compile("sgd", "mse", metrics=["mae"])  # made in the first trace, of a step of its own
    for size in (10, 10, 8, 10, 7, 3, 1, 8):
        train_step(net, X[:size], Y[:size])
    assert traced == [10, None, 10, 10, None]


@pytest.mark.backends("tensorflow")
def test_there_is_no_xla_on_a_cpu_that_was_not_asked_for(keras):
    for asked in ("auto", True):
        net = dense(keras, jit_compile=asked)
        train_step(net, X[:10], Y[:10])
        compiled = net.train_function._batchflow_step._functions[True]._jit_compile
        assert compiled == net.jit_compile
        assert asked == "auto" or compiled is True


def test_a_train_on_batch_of_the_users_own_is_called(keras):
    class Own(keras.Sequential):
        def train_on_batch(self, x, y, return_dict):
            return {"loss": float(len(x))}

    net = Own([keras.Input((8, 8, 2)), keras.layers.Flatten(), keras.layers.Dense(1)])
    net.compile("sgd", "mse")
    assert train(net, (X[:10], Y[:10]), {}) == 10


def test_class_weights_are_those_of_keras(keras):
    ours, theirs = (seeded(keras, dense) for _ in range(2))
    loss = train(ours, (X[:10], Y[:10]), {"class_weight": {0: 0.0, 1: 2.0}})
    assert loss == by_keras(theirs, X[:10], Y[:10], class_weight={0: 0.0, 1: 2.0})["loss"]
    assert isinstance(loss, LazyValue)
    assert same(ours, theirs)


def test_metrics_that_are_no_numbers_arrive_as_they_are(keras):
    net = dense(keras, metrics=[keras.metrics.F1Score(average=None, threshold=0.5)])
    logs = train(net, (X[:10], Y[:10]), {"return_dict": True})
    assert isinstance(logs["loss"], LazyValue)
    assert np.asarray(logs["f1_score"]).shape == (1,)


def test_a_failed_step_leaves_a_model_that_can_be_trained(keras):
    ours, theirs = (seeded(keras, measured) for _ in range(2))
    with pytest.raises(ValueError):
        train_step(ours, X[:10, :4], Y[:10])
    for _ in range(2):
        assert train_step(ours, X[:10], Y[:10]) == by_keras(theirs, X[:10], Y[:10])["loss"]
    assert same(ours, theirs)


def test_the_compiled_step_goes_with_its_model(keras):
    net = dense(keras)
    train_step(net, X[:10], Y[:10])
    train_steps(net, [(X[:10], Y[:10])] * 2)
    gone = weakref.ref(net)
    del net
    keras.utils.clear_session()
    gc.collect()
    assert gone() is None


def test_a_trained_model_is_copied_and_saved_as_before(keras, tmp_path):
    net = dense(keras)
    train_step(net, X[:10], Y[:10])
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        train_step(other, X[:10], Y[:10])
    assert same(other, other)
    assert sorted(state_variables(net))
    net.save(tmp_path / "net.keras")


# ---- values of steps


def test_unread_values_are_bounded(keras, monkeypatch):
    monkeypatch.setattr(step, "N_UNREAD", 3)
    net = dense(keras)
    losses = [train_step(net, X[:10], Y[:10]) for _ in range(7)]
    assert [loss._tensor is None for loss in losses] == [True] * 6 + [False]


def test_a_value_that_was_not_read_outlives_further_steps(keras):
    ours, theirs = (seeded(keras, everything) for _ in range(2))
    losses = [train_step(ours, X[part], Y[part]) for part in BATCHES]
    ours.fit(X, Y, verbose=0)
    assert losses == [by_keras(theirs, X[part], Y[part])["loss"] for part in BATCHES]


def test_a_history_in_a_chain_is_one_of_floats_to_who_reads_it(keras):
    chain = Dataset.from_arrays(Rows, x=X, y=Y).p.init_variable("loss", init=list)
    chain = chain.init_model("net", lambda: seeded(keras, dense))
    chain = chain.train_model("net", B.x, B.y, fetches="loss", save_to=V("loss", mode="a"))
    history = chain.run(10).v("loss")
    net = seeded(keras, dense)
    expected = [by_keras(net, X[part], Y[part])["loss"] for part in BATCHES]
    assert history == expected
    assert np.mean(history) == np.mean(expected)


# ---- the helpers


def test_a_step_of_ones_own_fetches_by_name(keras):
    ours, theirs = (seeded(keras, lambda keras: dense(keras, metrics=["mae"])) for _ in range(2))
    logs = by_keras(theirs, X[:10], Y[:10])
    assert train_step(ours, X[:10], Y[:10], fetches=["mae", "loss"]) == [logs["mae"], logs["loss"]]
    with pytest.raises(UnknownNameError, match="mean 'mae'"):
        train_step(ours, X[:10], Y[:10], fetches="maee")
    with pytest.raises(ArgumentTypeError, match="Keras model was expected, got"):
        train_step({}, X)
