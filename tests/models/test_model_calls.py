"""Making a model, training it by one step, predicting: what each kind of object is asked for."""

import contextlib
import functools
from collections import namedtuple

import numpy as np
import pytest
from harms.conftest import Room, in_threads
from own_process import run_alone

from batchflow.errors import ArgumentTypeError, ModelDefinitionError, UnknownNameError
from batchflow.models import LazyValue
from batchflow.models.build import build
from batchflow.models.calls import evaluate, predict, train, train_step, train_steps

# ---- build


class TakesConfig:
    def __init__(self, config=None):
        self.config = config


class TakesSettings:
    def __init__(self, units, rate=0.1):
        self.settings = (units, rate)


class PassesOn(TakesSettings):
    """As `keras.Model` does: its `__new__` hides the signature."""

    def __new__(cls, *args, **kwargs):
        return super().__new__(cls)


@pytest.mark.parametrize("model", [{"a": 1}, [], None, 5, TakesConfig()])
def test_an_object_that_is_no_class_or_function_is_the_model_itself(model):
    assert build(model) is model
    with pytest.raises(ArgumentTypeError, match=r"is the model itself.*nothing that config="):
        build(model, {"units": 1})


def test_a_config_goes_to_a_parameter_of_that_name():
    config = {"units": 64}
    assert build(TakesConfig, config).config is config
    assert build(lambda config: config, config) is config
    assert build(functools.partial(TakesConfig, config={}), config).config is config


@pytest.mark.parametrize("builder", [TakesSettings, PassesOn])
def test_a_config_is_spread_where_there_is_no_such_parameter(builder):
    assert build(builder, {"units": 64}).settings == (64, 0.1)
    assert build(functools.partial(builder, rate=0.5), {"units": 64}).settings == (64, 0.5)


def test_builders_of_every_kind_are_called():
    class Maker:
        def make(self, units=1):
            return units

        @classmethod
        def of_class(cls, units=2):
            return units

        @staticmethod
        def alone(units=3):
            return units

    assert [build(m) for m in (Maker().make, Maker.of_class, Maker.alone)] == [1, 2, 3]
    assert build(dict, {"units": 4}) == {"units": 4}  # built in: no signature
    assert build(namedtuple("Point", "x y"), {"x": 1, "y": 2}) == (1, 2)
    assert build(lambda **settings: settings, {"units": 5}) == {"units": 5}


def test_a_setting_that_does_not_fit_is_refused_with_the_signature():
    with pytest.raises(ArgumentTypeError) as caught:
        build(TakesSettings, {"units": 1, "rat": 2})
    assert "TakesSettings(units, rate=0.1) has no 'rat'" in str(caught.value)
    assert "Did you mean 'rate'?" in str(caught.value)


def test_a_setting_that_is_missing_is_named():
    with pytest.raises(ArgumentTypeError, match="needs 'units': give it in the model's config"):
        build(TakesSettings, {"rate": 1})
    with pytest.raises(ArgumentTypeError, match="a mapping, got 5"):
        build(TakesSettings, 5)


def test_a_builder_gets_the_batch_if_it_has_a_parameter_for_it():
    assert build(lambda batch, units: (batch, units), {"units": 1}, batch="first") == ("first", 1)
    assert build(lambda batch=None: batch) is None
    assert build(lambda: "no batch", batch="first") == "no batch"


def test_a_builder_that_needs_a_batch_is_refused_without_one():
    with pytest.raises(ModelDefinitionError, match=r'before the first batch.*mode="dynamic"'):
        build(lambda batch: batch)
    with pytest.raises(ArgumentTypeError, match="cannot have an entry 'batch'"):
        build(lambda batch: batch, {"batch": 32}, batch="first")


def test_an_error_in_a_builder_arrives_as_it_is():
    def broken():
        raise TypeError("mine")

    with pytest.raises(TypeError, match=r"^mine$"):
        build(broken)


# ---- objects with methods of their own


class Counter:
    def __init__(self):
        self.n = 0

    def train(self, x, step=1):
        self.n += step * len(x)
        return {"loss": -self.n, "n": self.n}

    def predict(self, x):
        return [v + self.n for v in x], "second"


class Chooses(Counter):
    def train(self, x, fetches="default"):
        return fetches


def test_train_calls_the_objects_method():
    model = Counter()
    assert train(model, ([1, 2],), {"step": 10}) == {"loss": -20, "n": 20}
    assert train(model, ([1],), {}, "n") == 21
    assert train(model, ([1],), {}, ["n", "loss"]) == [22, -22]


def test_fetches_go_to_a_method_that_takes_them():
    assert train(Chooses(), ([1],), {}, "mine") == "mine"
    assert train(Chooses(), ([1],), {}) == "default"


def test_an_unknown_name_is_refused_with_what_exists():
    with pytest.raises(UnknownNameError, match=r"Counter gives no 'los' in train.*mean 'loss'"):
        train(Counter(), ([1],), {}, "los")
    with pytest.raises(UnknownNameError, match="the result is a float"):
        train(type("F", (), {"train": lambda self: 1.0})(), (), {}, "loss")


def test_names_are_attributes_where_the_result_is_no_mapping():
    class Result(namedtuple("Result", "loss n")):
        def train(self):
            return self

    assert train(Result(1.5, 2), (), {}, ("n", "loss")) == [2, 1.5]


def test_predict_calls_the_objects_method():
    assert predict(Counter(), ([1],), {}) == ([1], "second")
    assert predict(Counter(), ([1],), {}, 1) == "second"
    with pytest.raises(UnknownNameError, match="Known: '0', '1'"):
        predict(Counter(), ([1],), {}, 7)


def test_another_callable_predicts_by_a_call():
    assert predict(lambda x, factor: x * factor, (2,), {"factor": 3}) == 6
    assert predict(lambda: {"a": 1}, (), {}, "a") == 1


def test_an_object_that_can_do_nothing_is_refused():
    with pytest.raises(ArgumentTypeError, match=r"class dict cannot be trained.*@action"):
        train({}, (), {})
    with pytest.raises(ArgumentTypeError, match="class dict cannot predict"):
        predict({}, (), {})


def test_a_call_without_a_framework_loads_none():
    code = (
        "import sys\n"
        "from batchflow.models.build import build\n"
        "from batchflow.models.calls import predict, train\n"
        "from batchflow.models.checkpoint import load, save\n"
        "class M:\n"
        "    def train(self): return 1\n"
        "    predict = train\n"
        "model = build(M)\n"
        "train(model, (), {}), predict(model, (), {})\n"
        "print({'keras', 'tensorflow', 'torch', 'dill', 'sklearn'} & set(sys.modules))"
    )
    assert run_alone(code).stdout.strip() == "set()"


# ---- scikit-learn


def test_an_estimator_is_built_from_a_spread_config_and_trained_by_partial_fit():
    linear_model = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 3))
    y = (x[:, 0] > 0).astype(int)
    model = build(linear_model.SGDClassifier, {"random_state": 0, "alpha": 0.01})
    by_hand = linear_model.SGDClassifier(random_state=0, alpha=0.01)
    assert train(model, (x[:20], y[:20]), {"classes": [0, 1]}) is None
    by_hand.partial_fit(x[:20], y[:20], classes=[0, 1])
    before = train(model, (x[20:], y[20:]), {}, fetches="coef_")
    by_hand.partial_fit(x[20:], y[20:])
    np.testing.assert_array_equal(before, by_hand.coef_)
    train(model, (x, y), {})
    np.testing.assert_array_equal(before, by_hand.coef_)  # a copy: training goes on in place
    np.testing.assert_array_equal(predict(model, (x,), {}), model.predict(x))
    with pytest.raises(UnknownNameError, match="SGDClassifier gives no 'coef'"):
        train(model, (x, y), {}, "coef")


# ---- torch


@pytest.mark.torch
def test_a_torch_module_predicts_in_eval_mode_and_gets_its_modes_back():
    torch = pytest.importorskip("torch")
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Dropout(0.5), torch.nn.Linear(4, 2))
    net[1].eval()
    first = predict(net, (np.ones((2, 3)),), {})
    assert isinstance(first, np.ndarray)
    np.testing.assert_array_equal(first, predict(net, (torch.ones(2, 3),), {}))
    assert [part.training for part in net] == [True, False, True]


@pytest.mark.torch
def test_a_torch_module_is_not_trained_by_its_switch():
    torch = pytest.importorskip("torch")
    with pytest.raises(ArgumentTypeError, match=r"Linear is a torch module.*@action"):
        train(torch.nn.Linear(1, 1), (True,), {})


# ---- Keras


def make_net(keras, metrics=("mae",)):
    keras.utils.set_random_seed(1)
    net = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)], name="net")
    net.compile("sgd", "mse", metrics=list(metrics))
    return net


X = np.random.default_rng(0).normal(size=(4, 8, 3)).astype("float32")
Y = X.sum(axis=2, keepdims=True)


@pytest.mark.tensorflow
def test_a_step_of_a_keras_model_is_train_on_batch(keras):
    ours, theirs = make_net(keras), make_net(keras)
    for x, y in zip(X, Y, strict=True):
        loss, mae = theirs.train_on_batch(x, y)
        assert train(ours, (x, y), {}, ["mae", "loss"]) == [mae, loss]  # of this batch alone
    for a, b in zip(ours.weights, theirs.weights, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.tensorflow
def test_every_call_of_a_keras_model_takes_its_turn(keras, monkeypatch):
    """On JAX, where a second call at the same moment destroys the model."""
    net, turns = make_net(keras), []

    def taken(model):
        turns.append(model)
        return contextlib.nullcontext()

    monkeypatch.setattr("batchflow.models.adapters.keras._alone", taken)
    train(net, (X[0], Y[0]), {})
    predict(net, (X[0],), {})
    train_step(net, X[0], Y[0])
    train_steps(net, [(X[0], Y[0]), (X[1], Y[1])])
    assert turns == [net] * 4


@pytest.mark.tensorflow
def test_the_loss_is_what_a_keras_step_returns(keras):
    loss = train(make_net(keras), (X[0],), {"y": Y[0]})
    assert isinstance(loss, LazyValue)
    assert isinstance(float(loss), float)
    assert loss == train(make_net(keras), (X[0], Y[0]), {}, "loss")
    values = train(make_net(keras), (X[0], Y[0]), {"return_dict": True})
    assert values == {"loss": loss, "mae": pytest.approx(0.5, abs=3)}


@pytest.mark.tensorflow
def test_sample_weights_reach_keras(keras):
    net = make_net(keras)
    before = np.array(np.asarray(net.weights[0]))
    assert train(net, (X[0], Y[0]), {"sample_weight": np.zeros(8)}) == 0
    np.testing.assert_array_equal(net.weights[0], before)


@pytest.mark.tensorflow
def test_a_keras_step_refuses_what_it_cannot_do(keras):
    net = make_net(keras)
    with pytest.raises(UnknownNameError, match=r"Keras model 'net' gives no 'mea'.*mean 'mae'"):
        train(net, (X[0], Y[0]), {}, "mea")
    raw = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)], name="raw")
    with pytest.raises(ModelDefinitionError, match=r"'raw' is not compiled.*call compile"):
        train(raw, (X[0], Y[0]), {})


@pytest.mark.tensorflow
def test_keras_predictions_are_arrays(keras):
    net = make_net(keras)
    prediction = predict(net, (X[0],), {})
    assert isinstance(prediction, np.ndarray)
    np.testing.assert_array_equal(prediction, net.predict_on_batch(X[0]))
    np.testing.assert_array_equal(predict(net, (X[0],), {}, 0), prediction)


@pytest.mark.tensorflow
def test_threads_that_ask_one_keras_model_at_once_do_not_break_it(keras):
    net, room = make_net(keras), Room()
    expected = predict(net, (X[0],), {})
    function = net.predict_function

    def visited(*args):
        room.visit()
        return function(*args)

    net.predict_function = visited
    for prediction in in_threads(*[lambda: predict(net, (X[0],), {})] * 6):
        np.testing.assert_array_equal(prediction, expected)
    # On JAX a second call would find the buffers of the first; elsewhere they go side by side.
    assert (room.most == 1) is (keras.backend.backend() == "jax")
    assert np.isfinite(float(train(net, (X[0], Y[0]), {})))


@pytest.mark.tensorflow
def test_fetches_choose_among_the_outputs_of_a_keras_model(keras):
    inputs = keras.Input((3,))
    double, triple = (
        keras.layers.Rescaling(k, name=name)(inputs) for k, name in [(2, "double"), (3, "triple")]
    )
    listed = keras.Model(inputs, [double, triple])
    for name in ("triple", 1):
        np.testing.assert_array_equal(predict(listed, (X[0],), {}, name), X[0] * 3)
    named = keras.Model(inputs, {"a": double, "b": triple})
    b, a = predict(named, (X[0],), {}, ["b", "a"])
    np.testing.assert_array_equal((a, b), (X[0] * 2, X[0] * 3))
    with pytest.raises(UnknownNameError, match="Did you mean 'triple'"):
        predict(listed, (X[0],), {}, "tripel")


@pytest.mark.tensorflow
def test_a_keras_instance_is_the_model_and_a_keras_class_a_builder(keras):
    class Net(keras.Model):
        def __init__(self, config):
            super().__init__()
            self.units = config["units"]

    net = make_net(keras)
    assert build(net) is net
    assert build(Net, {"units": 3}).units == 3
    with pytest.raises(ArgumentTypeError, match="the Keras model 'net' is no class"):
        build(net, {"units": 3})


# ---- evaluate


class Scores:
    def score(self, x, y, sample_weight=None):
        return float(np.mean(np.equal(x, y)))


class Evaluates(Scores):
    def evaluate(self, x, y):
        return {"loss": float(np.sum(x - y)), "n": len(x)}


def test_evaluate_calls_the_first_method_that_is_there():
    assert evaluate(Scores(), ([1, 2], [1, 3]), {}) == 0.5
    assert evaluate(Evaluates(), (np.array([5, 2]), np.array([1, 3])), {}) == {"loss": 3.0, "n": 2}
    assert evaluate(Evaluates(), (np.ones(2), np.ones(2)), {}, ["n", "loss"]) == [2, 0.0]


def test_what_cannot_be_evaluated_is_refused():
    with pytest.raises(ArgumentTypeError, match=r"class Counter cannot be evaluated.*score"):
        evaluate(Counter(), ([1],), {})
