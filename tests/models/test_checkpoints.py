"""Models in files: exact, atomic, safe. See also `test_killed_saves` and `test_damaged_files`."""

import copy
import os
import pickle

import numpy as np
import pytest

from batchflow.errors import ArgumentValueError
from batchflow.models.calls import predict, train
from batchflow.models.checkpoint import load, save
from batchflow.testing import digest

# ---- pickles and objects that save themselves


class Mean:
    def __init__(self, start=0.0):
        self.total = start

    def train(self, x):
        self.total += x.sum()


def test_a_users_object_comes_back_from_a_trusted_pickle(tmp_path):
    model = Mean()
    train(model, (np.arange(4.0),), {})
    save(model, tmp_path / "mean")
    loaded = load(tmp_path / "mean", into=Mean(), trust=True)
    assert loaded.total == 6.0
    assert os.listdir(tmp_path) == ["mean"]


def test_a_pickle_is_not_read_without_trust(tmp_path):
    class Hostile:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "harm"),)

    (tmp_path / "file").write_bytes(pickle.dumps(Hostile()))
    with pytest.raises(ArgumentValueError, match=r"is a pickle.*any code.*trust=True"):
        load(tmp_path / "file")
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("data", [b"", b"no pickle", b"\x80\x04\x95"])
def test_a_damaged_pickle_is_named(tmp_path, data):
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(ArgumentValueError, match="is damaged or no pickle"):
        load(tmp_path / "file", trust=True)


def test_an_estimator_comes_back_and_learns_on(tmp_path):
    linear_model = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(50, 3)), rng.integers(2, size=50)
    model = linear_model.SGDClassifier(random_state=0)
    train(model, (x, y), {"classes": [0, 1]})
    save(model, tmp_path / "sgd")
    loaded = load(tmp_path / "sgd", trust=True)
    for m in (model, loaded):
        train(m, (x, y), {})
    np.testing.assert_array_equal(loaded.coef_, model.coef_)


class Writer:
    """A model with files of its own."""

    def __init__(self, number=0):
        self.number = number

    def save(self, path):
        path.write_text(str(self.number))

    def load(self, path):
        self.number = int(path.read_text())


class Maker(Writer):
    @classmethod
    def load(cls, path):
        return cls(int(path.read_text()))


def test_an_object_with_save_and_load_does_it_itself(tmp_path):
    save(Writer(5), tmp_path / "n")
    assert (tmp_path / "n").read_text() == "5"
    model = Writer()
    assert load(tmp_path / "n", into=model) is model
    assert model.number == 5
    assert load(tmp_path / "n", builder=Writer).number == 5
    assert load(tmp_path / "n", builder=Maker).number == 5
    assert load(tmp_path / "n", into=Maker()).number == 5


def test_an_object_that_saves_itself_may_fill_a_folder(tmp_path):
    class Folder(Writer):
        def save(self, path):
            (path / "number").write_text("7")

    save(Folder(), tmp_path)
    assert os.listdir(tmp_path) == ["number"]


def test_an_object_that_cannot_be_pickled_leaves_the_old_file(tmp_path):
    save({"old": 1}, tmp_path / "file")
    with pytest.raises(TypeError) as caught:
        save({"new": (i for i in ())}, tmp_path / "file")
    assert "Give its class the methods save(path) and load(path)" in caught.value.__notes__[0]
    assert load(tmp_path / "file", trust=True) == {"old": 1}
    assert os.listdir(tmp_path) == ["file"]


def test_a_path_that_cannot_be_written_is_refused_before_anything_is(tmp_path):
    with pytest.raises(ArgumentValueError, match="is a folder"):
        save({}, tmp_path)
    with pytest.raises(ArgumentValueError, match=r"the folder .*none does not exist"):
        save({}, tmp_path / "none" / "file")


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "file")
    save([1], tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert load(tmp_path / "disk" / "file", trust=True) == [1]


# ---- a crash


def test_the_data_is_on_the_disk_before_it_takes_the_files_place(tmp_path, monkeypatch):
    calls, fsync, replace = [], os.fsync, os.replace

    def traced_fsync(descriptor):
        calls.append(("fsync", os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}"))))
        fsync(descriptor)

    def traced_replace(source, target):
        calls.append(("replace", os.path.basename(target)))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", traced_fsync)
    monkeypatch.setattr(os, "replace", traced_replace)
    save([1], tmp_path / "file")
    (first, temporary), *rest = calls
    assert (first, temporary.endswith(".tmp")) == ("fsync", True)
    assert rest == [("replace", "file"), ("fsync", tmp_path.name)]


@pytest.mark.parametrize("moment", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_an_error_while_saving_leaves_the_old_file_alone(tmp_path, monkeypatch, moment, error):
    save([1], tmp_path / "file")

    def fail(*args):
        raise error

    monkeypatch.setattr(os, moment, fail)
    with pytest.raises(error):
        save([2], tmp_path / "file")
    assert load(tmp_path / "file", trust=True) == [1]
    assert os.listdir(tmp_path) == ["file"]


# ---- Keras: exact


MOMENTUM = {"class_name": "SGD", "config": {"learning_rate": 0.05, "momentum": 0.9}}


# Keras does not list all variables of what is scaled, such as Nadam's product of momentums.
SCALED_NADAM = {
    "class_name": "LossScaleOptimizer",
    "config": {
        "inner_optimizer": {"module": "keras.optimizers", "class_name": "Nadam", "config": {}}
    },
}


def make_net(keras, optimizer=MOMENTUM):
    """Make a model whose random layers sit at different depths.

    Dropout has seeds: on torch, Keras draws without one from torch's global generator.
    """
    layers = keras.layers

    class Noisy(layers.Layer):
        def __init__(self):
            super().__init__()
            self.inner = layers.Dropout(0.4, seed=1)
            self.seeds = keras.random.SeedGenerator()

        def call(self, x, training=False):
            noise = keras.random.normal(keras.ops.shape(x), dtype=x.dtype, seed=self.seeds)
            return self.inner(x + noise if training else x, training=training)

    inner = keras.Sequential([layers.Dense(6), layers.Dropout(0.2, seed=2), Noisy()])
    noise, norm, drop = (
        layers.GaussianNoise(0.1),
        layers.BatchNormalization(),
        layers.Dropout(0.3, seed=3),
    )
    net = keras.Sequential([keras.Input((5,)), inner, noise, norm, drop, layers.Dense(1)])
    net.compile(keras.optimizers.get(copy.deepcopy(optimizer)), "mse")  # it takes out of it
    return net


def make_plain_net(keras, compiled=True, optimizer=MOMENTUM):
    """Make one of Keras's own layers, which a whole-model file can name."""
    layers = keras.layers
    inner = keras.Sequential([layers.Dense(6), layers.Dropout(0.2, seed=2)])
    net = keras.Sequential([keras.Input((5,)), inner, layers.Dropout(0.3, seed=3), layers.Dense(1)])
    if compiled:
        net.compile(keras.optimizers.get(copy.deepcopy(optimizer)), "mse")  # it takes out of it
    return net


def variables(net):
    return net.variables + net.optimizer.variables


def fingerprint(net):
    return digest(*map(np.asarray, variables(net)))


DATA = np.random.default_rng(0).normal(size=(20, 16, 5)).astype("float32")


def steps(net, first, last):
    """Train, and give the losses, which Dropout makes depend on every seed."""
    return [train(net, (x, x.sum(axis=1, keepdims=True)), {}) for x in DATA[first:last]]


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    "optimizer",
    [
        "adam",
        MOMENTUM,
        {"class_name": "Adam", "config": {"use_ema": True, "gradient_accumulation_steps": 3}},
        "nadam",
        "adafactor",
        SCALED_NADAM,
    ],
    ids=["adam", "momentum", "averages", "nadam", "adafactor", "scaled nadam"],
)
def test_training_goes_on_with_the_same_bits(keras, tmp_path, optimizer):
    net = make_net(keras, optimizer)
    steps(net, 0, 7)
    save(net, tmp_path / "net.npz")
    step = int(net.optimizer.iterations)
    losses = steps(net, 7, 20)
    other = make_net(keras, optimizer)
    assert load(tmp_path / "net.npz", into=other) is other
    assert int(other.optimizer.iterations) == step
    assert steps(other, 7, 20) == losses
    assert fingerprint(other) == fingerprint(net)


@pytest.mark.tensorflow
def test_a_trained_model_goes_back_to_its_state(keras, tmp_path):
    net = make_net(keras)
    steps(net, 0, 3)
    before = fingerprint(net)
    save(net, tmp_path / "net.npz")
    assert fingerprint(net) == before
    steps(net, 3, 6)
    load(tmp_path / "net.npz", into=net)
    assert fingerprint(net) == before


@pytest.mark.tensorflow
def test_an_untrained_model_is_saved_with_its_seeds(keras, tmp_path):
    net = make_net(keras)
    save(net, tmp_path / "net.npz")
    other = load(tmp_path / "net.npz", builder=lambda: make_net(keras))
    assert steps(other, 0, 3) == steps(net, 0, 3)


@pytest.mark.tensorflow
def test_a_changed_learning_rate_is_part_of_the_state(keras, tmp_path):
    net = make_net(keras)
    net.optimizer.learning_rate = 0.25
    save(net, tmp_path / "net.npz")
    other = load(tmp_path / "net.npz", into=make_net(keras))
    assert float(other.optimizer.learning_rate) == 0.25


@pytest.mark.tensorflow
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "bfloat16"])
def test_other_precisions_come_back_exactly(keras, tmp_path, policy):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        net, other = make_net(keras), make_net(keras)
    finally:
        keras.config.set_dtype_policy(before)
    steps(net, 0, 2)
    save(net, tmp_path / "net.npz")
    load(tmp_path / "net.npz", into=other)
    assert fingerprint(other) == fingerprint(net)
    assert steps(other, 2, 4) == steps(net, 2, 4)


@pytest.mark.tensorflow
def test_an_adapted_normalization_computes_with_what_was_loaded(keras, tmp_path):
    def make(data):
        layer = keras.layers.Normalization()
        layer.adapt(data)
        return keras.Sequential([keras.Input((5,)), layer])

    net, other = make(DATA[0]), make(DATA[1] * 3)
    save(net, tmp_path / "net.npz")
    load(tmp_path / "net.npz", into=other)
    np.testing.assert_array_equal(*(predict(n, (DATA[2],), {}) for n in (net, other)))


@pytest.mark.tensorflow
def test_the_same_state_gives_the_same_file_and_numpy_opens_it(keras, tmp_path):
    net = make_net(keras)
    save(net, tmp_path / "a.npz")
    save(net, tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    with np.load(tmp_path / "a.npz", allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["model/0/dense/kernel"], net.weights[0])


@pytest.mark.tensorflow
def test_an_uncompiled_model_takes_the_weights_alone(keras, tmp_path):
    net, raw = make_plain_net(keras), make_plain_net(keras, compiled=False)
    steps(net, 0, 2)
    save(net, tmp_path / "net.npz")
    load(tmp_path / "net.npz", into=raw)
    np.testing.assert_array_equal(*(predict(n, (DATA[0],), {}) for n in (net, raw)))


# ---- Keras: whole models

# Keras's own saving, with NumPy 2.
keras_warns = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@keras_warns
@pytest.mark.tensorflow
@pytest.mark.parametrize("optimizer", [MOMENTUM, SCALED_NADAM], ids=["momentum", "scaled nadam"])
def test_a_whole_model_goes_on_with_the_same_bits(keras, tmp_path, optimizer):
    net = make_plain_net(keras, optimizer=optimizer)
    steps(net, 0, 5)
    save(net, tmp_path / "net.keras")
    assert os.listdir(tmp_path) == ["net.keras"]
    theirs = keras.saving.load_model(tmp_path / "net.keras")
    np.testing.assert_array_equal(*(predict(n, (DATA[0],), {}) for n in (net, theirs)))
    losses = steps(net, 5, 10)
    assert steps(load(tmp_path / "net.keras"), 5, 10) == losses
    other = make_plain_net(keras, optimizer=optimizer)
    assert steps(load(tmp_path / "net.keras", into=other), 5, 10) == losses


@keras_warns
@pytest.mark.tensorflow
def test_a_whole_model_that_keras_saved_is_loaded_too(keras, tmp_path):
    net = make_plain_net(keras)
    steps(net, 0, 2)
    net.save(tmp_path / "net.keras")
    for loaded in (
        load(tmp_path / "net.keras"),
        load(tmp_path / "net.keras", into=make_plain_net(keras)),
    ):
        np.testing.assert_array_equal(predict(loaded, (DATA[0],), {}), predict(net, (DATA[0],), {}))


@pytest.mark.tensorflow
def test_code_in_a_whole_model_is_not_run(keras, tmp_path):
    net = keras.Sequential([keras.Input((5,)), keras.layers.Lambda(lambda x: x + 1)])
    save(net, tmp_path / "net.keras")
    with pytest.raises(ValueError, match="Lambda"):
        load(tmp_path / "net.keras", trust=True)
