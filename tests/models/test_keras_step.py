"""The compiled training step: the bits of `train_on_batch`, and values that nobody waits for."""

import copy
import gc
import json
import math
import numbers
import pickle
import statistics
import weakref

import numpy as np
import pytest

from batchflow import ArrayBatch, B, Dataset, V
from batchflow.errors import ArgumentTypeError, ArgumentValueError, UnknownNameError
from batchflow.models import LazyValue, train_step, train_steps
from batchflow.models import keras_step as module
from batchflow.models.calls import train
from batchflow.models.keras import state_variables

# ---- a value


VALUES = [0.0, -1.5, 0.1, 1e300, float("inf")]


@pytest.mark.parametrize("number", VALUES)
def test_a_lazy_value_does_as_its_float_does(number):
    lazy, other = LazyValue(np.float64(number)), LazyValue(2.0)
    assert (lazy, lazy + 1, 1 + lazy, lazy * other, 2 / other) == (
        *(number, number + 1, 1 + number, number * 2, 1.0),
    )
    assert (lazy < 1, lazy > 1, lazy != number, lazy >= other) == (
        *(number < 1, number > 1, False, number >= 2),
    )
    assert (repr(lazy), str(lazy), f"{lazy:.3e}", "%.2f" % lazy) == (  # noqa: UP031
        *(repr(number), str(number), f"{number:.3e}", f"{number:.2f}"),
    )
    assert (hash(lazy), bool(lazy), -lazy, abs(lazy)) == (
        *(hash(number), bool(number), -number, abs(number)),
    )
    assert math.isinf(lazy) == math.isinf(number)
    assert isinstance(lazy, numbers.Real)


def test_arrays_of_lazy_values_are_arrays_of_floats():
    numbers_ = [0.5, 0.25, 1.0]
    lazy = [LazyValue(np.float32(n)) for n in numbers_]
    assert np.array(lazy).dtype == np.float64
    assert np.mean(lazy) == np.mean(numbers_)
    assert (sum(lazy), max(lazy), sorted(lazy)) == (1.75, 1.0, sorted(numbers_))
    assert statistics.mean(lazy) == statistics.mean(numbers_)
    np.testing.assert_array_equal(np.ones(2) * lazy[0], [0.5, 0.5])
    np.testing.assert_array_equal(lazy[0] + np.ones(2), [1.5, 1.5])
    assert np.float32(1) > lazy[0]
    assert (round(lazy[1], 1), int(lazy[2]), lazy[0].item()) == (0.2, 1, 0.5)
    assert type(lazy[0].numpy()) is np.float64


@pytest.mark.parametrize(
    "through", [copy.copy, copy.deepcopy, lambda v: pickle.loads(pickle.dumps(v))]
)
def test_a_copy_of_a_lazy_value_is_a_float(through):
    assert type(through(LazyValue(0.5))) is float


def test_json_takes_it_with_a_default():
    assert json.dumps([LazyValue(0.5)], default=float) == "[0.5]"


def test_a_lazy_value_is_read_once_and_lets_its_tensor_go():
    class Tensor:
        n_reads = 0

        def __float__(self):
            Tensor.n_reads += 1
            return 0.5

    tensor = Tensor()
    lazy, gone = LazyValue(tensor), weakref.ref(tensor)
    del tensor
    assert Tensor.n_reads == 0
    assert (float(lazy), lazy + 0, Tensor.n_reads) == (0.5, 0.5, 1)
    assert gone() is None


# ---- a step


tensorflow = pytest.mark.tensorflow
keras_warns = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture
def keras():
    return pytest.importorskip("keras")


RNG = np.random.default_rng(0)
X = RNG.normal(size=(48, 8, 8, 2)).astype("float32")
Y = (X.sum(axis=(1, 2, 3)) > 0).astype("float32")[:, None]
BATCHES = [slice(start, start + 10) for start in range(0, 48, 10)]  # the last one has 8


def dense(keras, optimizer="sgd", **options):
    net = keras.Sequential([keras.Input((8, 8, 2)), keras.layers.Flatten(), keras.layers.Dense(1)])
    net.compile(optimizer, "mse", **options)
    return net


def everything(keras, optimizer="adam", **options):
    layers, regularizers = keras.layers, keras.regularizers
    net = keras.Sequential(
        [
            keras.Input((8, 8, 2)),
            layers.Conv2D(4, 3, kernel_regularizer=regularizers.L2(0.1)),
            layers.BatchNormalization(),
            layers.Activation("relu"),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(1, activation="sigmoid", activity_regularizer=regularizers.L1(0.1)),
        ]
    )
    net.compile(optimizer, "binary_crossentropy", **options)
    return net


def unbuilt(keras):
    net = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(1)])
    net.compile("adam", "mse", metrics=["mae", keras.metrics.AUC(num_thresholds=5, name="auc")])
    return net


def scaled(keras):
    net = dense(keras)
    optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam())
    net.compile(optimizer, "mse", metrics=["mae"], weighted_metrics=["mse"])
    return net


def own_step(keras):
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.inner = keras.layers.Dense(1)
            self.seen = keras.metrics.Sum(name="seen")

        def call(self, x, training=None):
            return self.inner(keras.ops.reshape(x, (-1, 128)))

        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            self.seen.update_state(keras.ops.ones_like(y))
            return keras.ops.mean((y - y_pred) ** 4)

        def train_step(self, *args):
            logs = super().train_step(*args)
            return logs if isinstance(logs, tuple) else {**logs, "twice": logs["loss"] * 2}

    net = Own()
    net.compile(keras.optimizers.SGD(1e-4))
    return net


def frozen(keras):
    net = everything(keras)
    net.layers[0].trainable = net.layers[1].trainable = False
    net.compile("adam", "mse")
    return net


MODELS = {
    "dense, sgd": dense,
    "momentum": lambda keras: everything(keras, keras.optimizers.SGD(0.1, momentum=0.9)),
    "adam and metrics": lambda keras: everything(keras, metrics=["accuracy"]),
    "schedule, clipped": lambda keras: everything(
        keras,
        keras.optimizers.Adam(
            keras.optimizers.schedules.ExponentialDecay(0.1, 2, 0.5), global_clipnorm=0.1
        ),
    ),
    "nothing built": unbuilt,
    "loss scale, weighted metrics": scaled,
    "a train_step of its own": own_step,
    "frozen layers": frozen,
    "eagerly": lambda keras: dense(keras, run_eagerly=True),
}


def seeded(keras, make):
    keras.utils.set_random_seed(1)
    return make(keras)


def state(net):
    # By position: what is left of the names may tell two models of one process apart.
    return [np.array(np.asarray(v)) for v in (*net.variables, *net.optimizer.variables)]


def same(one, other):
    one, other = state(one), state(other)
    return len(one) == len(other) and all(map(np.array_equal, one, other))


@tensorflow
@pytest.mark.parametrize(
    ("name", "weighted"), [*((name, False) for name in MODELS), ("adam and metrics", True)]
)
def test_a_step_is_train_on_batch_bit_for_bit(keras, name, weighted):
    ours, theirs = (seeded(keras, MODELS[name]) for _ in range(2))
    weights = np.linspace(0, 2, 48).astype("float32") if weighted else None
    told, expected = [], []
    for part in [*BATCHES, *BATCHES]:
        w = weights[part] if weighted else None
        told.append(train(ours, (X[part], Y[part], w), {"return_dict": True}))
        expected.append(theirs.train_on_batch(X[part], Y[part], w, return_dict=True))
    assert told == expected
    assert [list(logs) for logs in told] == [list(logs) for logs in expected]
    assert same(ours, theirs)
    for one, other in zip(ours.metrics_variables, theirs.metrics_variables, strict=True):
        np.testing.assert_array_equal(one, other)  # what the metrics hold is the same, too


@tensorflow
@pytest.mark.parametrize("kind", ["list", "dict"])
def test_several_inputs_and_outputs(keras, kind):
    def make(keras):
        a, b = (keras.Input((3,), name=name) for name in "ab")
        both = keras.layers.Concatenate()([a, b])
        u, v = (keras.layers.Dense(1, name=name)(both) for name in "uv")
        if kind == "list":
            net = keras.Model([a, b], [u, v])
            net.compile("adam", ["mse", "mae"], loss_weights=[1, 2], metrics=[["mae"], ["mse"]])
        else:
            net = keras.Model({"a": a, "b": b}, {"u": u, "v": v})
            net.compile("adam", {"u": "mse", "v": "mae"}, metrics={"u": ["mae"], "v": ["mse"]})
        return net

    ours, theirs = seeded(keras, make), seeded(keras, make)
    p, q = X[..., 0, 0][:, :3], X[..., 1, 1][:, :3]
    for part in BATCHES:
        x = [p[part], q[part]] if kind == "list" else {"a": p[part], "b": q[part]}
        y = [Y[part], -Y[part]] if kind == "list" else {"u": Y[part], "v": -Y[part]}
        logs = theirs.train_on_batch(x, y, return_dict=True)
        assert train(ours, (x,), {"y": y, "return_dict": True}) == logs
        assert len(logs) == 5
    assert same(ours, theirs)


@tensorflow
def test_fit_evaluate_and_predict_in_between_disturb_nothing(keras):
    ours, theirs = (seeded(keras, MODELS["adam and metrics"]) for _ in range(2))
    for step in (lambda *a: train_step(ours, *a), theirs.train_on_batch):
        net = ours if step != theirs.train_on_batch else theirs
        step(X[:10], Y[:10])
        net.fit(X, Y, batch_size=12, shuffle=False, verbose=0)
        step(X[:10], Y[:10])
        net.evaluate(X, Y, verbose=0)
        net.predict(X, verbose=0)
        net.train_on_batch(X[:10], Y[:10])
        step(X[:10], Y[:10])
    assert same(ours, theirs)
    assert all(np.asarray(weight).size for weight in ours.weights)


@tensorflow
def test_a_model_that_is_compiled_anew_gets_a_new_step(keras):
    ours, theirs = (seeded(keras, everything) for _ in range(2))
    for net, step in [(ours, train_step), (theirs, type(theirs).train_on_batch)]:
        step(net, X[:10], Y[:10])
        net.layers[0].trainable = False
        net.compile("sgd", "mse", metrics=["mae"])
        step(net, X[:10], Y[:10])
        net.layers[0].trainable = True
        net.compile("adam", "mae")
        step(net, X[:10], Y[:10])
    assert same(ours, theirs)


@keras_warns
@tensorflow
def test_what_is_assigned_between_steps_is_seen(keras):
    ours, theirs = (seeded(keras, everything) for _ in range(2))
    for net, step in [(ours, train_step), (theirs, type(theirs).train_on_batch)]:
        step(net, X[:10], Y[:10])
        net.optimizer.learning_rate = 0.5
        net.set_weights([weight / 2 for weight in net.get_weights()])
        step(net, X[:10], Y[:10])
    assert same(ours, theirs)


@tensorflow
def test_batch_sizes_without_end_are_traced_twice(keras):
    if keras.backend.backend() != "tensorflow":
        pytest.skip("other backends compile once per shape")
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
    net.compile("sgd", "mse", metrics=["mae"])  # made in the first trace
    for size in (10, 10, 8, 10, 7, 3, 1, 8):
        train_step(net, X[:size], Y[:size])
    assert traced == [10, None, 10, 10, None]


@tensorflow
def test_there_is_no_xla_on_a_cpu_that_was_not_asked_for(keras):
    if keras.backend.backend() != "tensorflow":
        pytest.skip("a question to TensorFlow")
    for asked in ("auto", True):
        net = dense(keras, jit_compile=asked)
        train_step(net, X[:10], Y[:10])
        compiled = net.train_function._batchflow_step._one._jit_compile
        assert compiled == net.jit_compile
        assert asked == "auto" or compiled is True


@tensorflow
def test_a_train_on_batch_of_the_users_own_is_called(keras):
    class Own(keras.Sequential):
        def train_on_batch(self, x, y, return_dict):
            return {"loss": float(len(x))}

    net = Own([keras.Input((8, 8, 2)), keras.layers.Flatten(), keras.layers.Dense(1)])
    net.compile("sgd", "mse")
    assert train(net, (X[:10], Y[:10]), {}) == 10


@tensorflow
def test_class_weights_are_those_of_keras(keras):
    ours, theirs = (seeded(keras, dense) for _ in range(2))
    loss = train(ours, (X[:10], Y[:10]), {"class_weight": {0: 0.0, 1: 2.0}})
    assert loss == theirs.train_on_batch(X[:10], Y[:10], class_weight={0: 0.0, 1: 2.0})
    assert isinstance(loss, LazyValue)
    assert same(ours, theirs)


@tensorflow
def test_metrics_that_are_no_numbers_arrive_as_they_are(keras):
    net = dense(keras, metrics=[keras.metrics.F1Score(average=None, threshold=0.5)])
    logs = train(net, (X[:10], Y[:10]), {"return_dict": True})
    assert isinstance(logs["loss"], LazyValue)
    assert np.asarray(logs["f1_score"]).shape == (1,)


@tensorflow
def test_a_failed_step_leaves_a_model_that_can_be_trained(keras):
    ours, theirs = (seeded(keras, MODELS["adam and metrics"]) for _ in range(2))
    with pytest.raises(ValueError):
        train_step(ours, X[:10, :4], Y[:10])
    for _ in range(2):
        assert train_step(ours, X[:10], Y[:10]) == theirs.train_on_batch(X[:10], Y[:10])[0]
    assert same(ours, theirs)


@tensorflow
def test_the_compiled_step_goes_with_its_model(keras):
    net = dense(keras)
    train_step(net, X[:10], Y[:10])
    train_steps(net, [(X[:10], Y[:10])] * 2)
    gone = weakref.ref(net)
    del net
    keras.utils.clear_session()
    gc.collect()
    assert gone() is None


@keras_warns
@tensorflow
def test_a_trained_model_is_copied_and_saved_as_before(keras, tmp_path):
    net = dense(keras)
    train_step(net, X[:10], Y[:10])
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        train_step(other, X[:10], Y[:10])
    assert same(other, other)
    assert sorted(state_variables(net))
    net.save(tmp_path / "net.keras")


# ---- values of steps


@tensorflow
def test_unread_values_are_bounded(keras, monkeypatch):
    monkeypatch.setattr(module, "N_UNREAD", 3)
    net = dense(keras)
    losses = [train_step(net, X[:10], Y[:10]) for _ in range(7)]
    assert [loss._tensor is None for loss in losses] == [True] * 6 + [False]


@tensorflow
def test_a_value_that_was_not_read_outlives_further_steps(keras):
    ours, theirs = (seeded(keras, everything) for _ in range(2))
    losses = [train_step(ours, X[part], Y[part]) for part in BATCHES]
    ours.fit(X, Y, verbose=0)
    assert losses == [theirs.train_on_batch(X[part], Y[part]) for part in BATCHES]


@tensorflow
def test_a_history_in_a_chain_is_one_of_floats_to_who_reads_it(keras):
    class Rows(ArrayBatch):
        components = "x", "y"

    chain = Dataset.from_arrays(Rows, x=X, y=Y).p.init_variable("loss", init=list)
    chain = chain.init_model("net", lambda: seeded(keras, dense))
    chain = chain.train_model("net", B.x, B.y, fetches="loss", save_to=V("loss", mode="a"))
    history = chain.run(10).v("loss")
    net = seeded(keras, dense)
    expected = [net.train_on_batch(X[part], Y[part]) for part in BATCHES]
    assert history == [float(loss) for loss in expected]
    assert np.mean(history) == np.mean([float(loss) for loss in expected])


# ---- the helpers


@tensorflow
def test_a_step_of_ones_own_fetches_by_name(keras):
    ours, theirs = (seeded(keras, lambda keras: dense(keras, metrics=["mae"])) for _ in range(2))
    loss, mae = theirs.train_on_batch(X[:10], Y[:10])
    assert train_step(ours, X[:10], Y[:10], fetches=["mae", "loss"]) == [mae, loss]
    with pytest.raises(UnknownNameError, match="mean 'mae'"):
        train_step(ours, X[:10], Y[:10], fetches="maee")
    with pytest.raises(ArgumentTypeError, match="Keras model was expected, got"):
        train_step({}, X)
    with pytest.raises(ArgumentValueError, match=r"\(x, y\)"):
        train_steps(ours, [()])


@tensorflow
@pytest.mark.parametrize(
    ("name", "weighted"), [("nothing built", False), ("adam and metrics", True), ("eagerly", False)]
)
def test_steps_in_one_call_are_single_steps_bit_for_bit(keras, name, weighted):
    ours, theirs = (seeded(keras, MODELS[name]) for _ in range(2))
    w = np.linspace(0, 2, 48).astype("float32")
    batches = [(X[p], Y[p], w[p]) if weighted else (X[p], Y[p]) for p in BATCHES]
    losses = [loss for _ in range(3) for loss in train_steps(ours, batches[:4])]
    losses += train_steps(ours, batches[4:])
    expected = [theirs.train_on_batch(*batch, return_dict=True) for batch in batches[:4] * 3]
    expected += [theirs.train_on_batch(*batches[4], return_dict=True)]
    assert losses == [logs["loss"] for logs in expected]
    assert same(ours, theirs)
