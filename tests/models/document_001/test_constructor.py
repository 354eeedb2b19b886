"""Document 001: the arguments of `Estimator`, and all signatures of its model function."""

import functools
import inspect
import itertools

import numpy as np
import pytest
from models.document_001.kit import X, Y, batches, reader, reading
from models.document_001.rows import row
from models.document_kit import keras, step_of

from batchflow.models import Estimator, EstimatorSpec, Modes, RunConfig

pytestmark = pytest.mark.tensorflow

ALL = ("features", "labels", "mode", "params", "config", "model_dir")


class Called(Exception):
    """What a model function raises when it has seen its arguments."""


class Model:
    """Notes what its functions are called with."""

    def __init__(self):
        self.given = None

    def take(self, **given):
        self.given = given
        raise Called

    def function(self, parameters):
        """Make a function of these parameters, in this order."""
        call = ", ".join(f"{name}={name}" for name in parameters)
        return eval(f"lambda {', '.join(parameters)}: take({call})", {"take": self.take})

    def __call__(self, features, labels, mode, params):
        self.take(features=features, labels=labels, mode=mode, params=params)

    def method(self, config, mode, labels, features):
        self.take(features=features, labels=labels, mode=mode, config=config)


def call(model, function, folder, params=None):
    """Let an Estimator call a model function; give the arguments."""
    estimator = Estimator(function, str(folder), params=params)
    with pytest.raises(Called):
        estimator.train(batches, steps=1)
    return model.given


def check(given, names, folder, params=None):
    assert given.keys() == set(names)
    if "mode" in names:
        assert given["mode"] == Modes.TRAIN == "train"
    if "params" in names:
        assert given["params"] == (params or {})
    if "config" in names:
        assert isinstance(given["config"], RunConfig)
        assert given["config"].model_dir == str(folder)
    if "model_dir" in names:
        assert given["model_dir"] == str(folder)
    for name in {"features", "labels"} & set(names):
        assert isinstance(given[name], keras.KerasTensor)
        assert tuple(given[name].shape) == (None, 1)


# ---- signatures


@row(
    "Estimator.model_fn",
    "model_fn.features",
    "model_fn.labels",
    "model_fn.mode",
    "model_fn.params",
    "model_fn.config",
    "model_fn.model_dir",
    "model_fn.three arguments",
    "model_fn.four arguments",
    "model_fn.five arguments",
    "model_fn.six arguments",
)
@pytest.mark.parametrize("n_arguments", [3, 4, 5, 6])
def test_the_documented_signatures_get_their_arguments(row, n_arguments, tmp_path):
    names = ALL[:n_arguments]
    params = {"rate": 0.5} if "params" in names else None
    model = Model()
    check(call(model, model.function(names), tmp_path, params), names, tmp_path, params)


def other_orders():
    rotated = [ALL[shift:] + ALL[:shift] for shift in range(6)]
    pairs = [("features", "labels", extra) for extra in ALL[2:]]
    orders = [*rotated, tuple(reversed(ALL)), *pairs, ("features", "labels")]
    return [*orders, *itertools.permutations(ALL[:3])]


@row("Estimator.model_fn", "model_fn.without mode")
@pytest.mark.parametrize("names", other_orders(), ids=", ".join)
def test_arguments_are_given_by_name_in_any_order(row, names, tmp_path):
    model = Model()
    check(call(model, model.function(names), tmp_path), names, tmp_path)


FORMS = {
    "object": (lambda model: model, ALL[:4]),
    "bound method": (lambda model: model.method, ("features", "labels", "mode", "config")),
    "partial by position": (
        lambda model: functools.partial(
            lambda n, features, labels: model.take(features=features, labels=labels), 3
        ),
        ALL[:2],
    ),
    "partial by name": (
        lambda model: functools.partial(
            lambda features, labels, mode, n: model.take(
                features=features, labels=labels, mode=mode
            ),
            n=3,
        ),
        ALL[:3],
    ),
    "partial of a method": (
        lambda model: functools.partial(model.method),
        ("features", "labels", "mode", "config"),
    ),
    "partial of an object": (lambda model: functools.partial(model), ALL[:4]),
    "keywords": (
        lambda model: lambda features, labels, **others: model.take(
            features=features, labels=labels, **{key: others[key] for key in ALL[2:]}
        ),
        ALL,
    ),
    "keyword only": (
        lambda model: lambda *, features, labels, mode: model.take(
            features=features, labels=labels, mode=mode
        ),
        ALL[:3],
    ),
    "defaults": (
        lambda model: lambda features, labels=None, mode="eval", n=3: model.take(
            features=features, labels=labels, mode=mode
        ),
        ALL[:3],
    ),
}  # fmt: skip


@row("Estimator.model_fn")
@pytest.mark.parametrize("form", FORMS)
def test_a_model_function_may_be_anything_that_can_be_called(row, form, tmp_path):
    make, names = FORMS[form]
    model = Model()
    check(call(model, make(model), tmp_path), names, tmp_path)


@row("Estimator.model_fn")
def test_class_and_static_methods_are_model_functions(row, tmp_path):
    class Net:
        n_calls = 0

        @classmethod
        def of_class(cls, features, labels, mode):
            cls.n_calls += 1
            raise Called

        @staticmethod
        def static(mode, labels, features):
            raise Called

    call(Model(), Net.of_class, tmp_path / "a")
    call(Model(), Net.static, tmp_path / "b")
    call(Model(), Net().of_class, tmp_path / "c")
    assert Net.n_calls == 2


@row("model_fn.without mode", "model_fn.labels None in PREDICT", "model_fn.mode")
def test_labels_are_none_in_predictions_and_mode_need_not_be_named(row, tmp_path):
    seen = []

    def model_fn(features, labels):
        seen.append(labels)
        return reading(features, labels, Modes.PREDICT if labels is None else Modes.TRAIN)

    estimator = Estimator(model_fn, str(tmp_path)).train(batches, steps=1)
    assert len(list(estimator.predict(batches))) == 12
    assert estimator.evaluate(batches)["loss"] == pytest.approx(5.5)
    assert [labels is None for labels in seen] == [False, True, False]


@row("model_fn.mode")
def test_each_call_has_its_mode(row, tmp_path):
    seen = []

    def model_fn(features, labels, mode):
        seen.append(mode)
        return reading(features, labels, mode)

    estimator = Estimator(model_fn, str(tmp_path)).train(batches, steps=1)
    estimator.evaluate(batches)
    next(estimator.predict(batches))
    estimator.train(batches, steps=1)
    assert seen == ["train", "eval", "infer"]
    assert all(isinstance(mode, Modes) for mode in seen)


@row("model_fn.features", "model_fn.labels")
def test_dictionaries_of_features_and_labels_stay_dictionaries(row, tmp_path):
    model = Model()
    estimator = Estimator(model.function(ALL[:2]), str(tmp_path))
    data = {"b": X, "a": np.zeros((12, 2, 3), "int32")}, {"first": Y, "second": Y[:, 0]}
    with pytest.raises(Called):
        estimator.train(lambda: data, steps=1)
    features, labels = model.given["features"], model.given["labels"]
    assert {name: tuple(one.shape) for name, one in features.items()} == {
        "b": (None, 1),
        "a": (None, 2, 3),
    }
    assert features["a"].dtype == "int32"
    assert {name: tuple(one.shape) for name, one in labels.items()} == {
        "first": (None, 1),
        "second": (None,),
    }


# ---- what is refused


@row("Estimator.ValueError", "model_fn.params", "Estimator.params")
@pytest.mark.parametrize(
    ("function", "params", "text"),
    [
        (None, None, "model_fn"),
        (lambda features, labels, mode: None, {"rate": 1}, "params"),
        (lambda features, labels, mode: None, {}, "params"),
        (lambda labels, mode: None, None, "features"),
        (lambda features, labels, mode, rate: None, None, "rate"),
        (lambda features, labels, mode, param: None, {"rate": 1}, "param"),
    ],
)
def test_parameters_that_do_not_fit_are_refused_at_once(row, function, params, text, tmp_path):
    with pytest.raises(ValueError, match=text):
        Estimator(function, str(tmp_path), params=params)


@row("Estimator.model_fn", "Estimator.config", "Estimator.params")
@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"model_fn": "net"}, "model_fn"),
        ({"model_fn": reading, "config": {"model_dir": "a"}}, "config"),
        ({"model_fn": lambda features, params: None, "params": ["rate"]}, "params"),
    ],
)
def test_arguments_of_other_types_are_refused(row, arguments, text):
    with pytest.raises(TypeError, match=text):
        Estimator(**arguments)


@row("model_fn.labels", "Estimator.ValueError")
def test_labels_that_a_model_function_does_not_take_are_refused(row, tmp_path):
    estimator = Estimator(lambda features, mode: reading(features, None, mode), str(tmp_path))
    with pytest.raises(ValueError, match="labels"):
        estimator.train(batches, steps=1)
    assert step_of(estimator.train(lambda: X, steps=1)) == 1


@row("model_fn.returns EstimatorSpec")
@pytest.mark.parametrize("wrong", [None, {}, "spec", 3])
def test_a_model_function_that_returns_no_spec_is_refused(row, wrong, tmp_path):
    estimator = Estimator(lambda features, labels: wrong, str(tmp_path))
    with pytest.raises(ValueError, match="EstimatorSpec"):
        estimator.train(batches, steps=1)


@row("model_fn.returns EstimatorSpec", "model_fn.mode")
def test_a_spec_of_another_mode_is_refused(row, tmp_path):
    def model_fn(features, labels, mode):
        return reading(features, labels, "eval")

    with pytest.raises(ValueError, match="'eval'"):
        Estimator(model_fn, str(tmp_path)).train(batches, steps=1)


@row("model_fn.returns EstimatorSpec")
@pytest.mark.parametrize(
    ("mode", "missing"),
    [("train", "loss"), ("train", "train_op"), ("eval", "loss"), ("infer", "predictions")],
)
def test_a_spec_without_what_its_mode_needs_is_refused(row, mode, missing):
    tensor = keras.ops.mean(keras.Input((1,)))
    parts = {"predictions": tensor, "loss": tensor, "train_op": keras.optimizers.SGD()}
    parts.pop(missing)
    with pytest.raises(ValueError, match=missing):
        EstimatorSpec(mode, **parts)


# ---- model_dir, config, params


@row("Estimator.defaults")
def test_arguments_have_the_documented_order_and_defaults(row):
    parameters = inspect.signature(Estimator).parameters
    assert list(parameters) == ["model_fn", "model_dir", "config", "params"]
    assert all(parameter.default is None for parameter in parameters.values())


METHODS = {
    "export_savedmodel": {
        "export_dir_base": inspect.Parameter.empty,
        "serving_input_receiver_fn": inspect.Parameter.empty,
        "assets_extra": None,
        "as_text": False,
        "checkpoint_path": None,
    },
    "train": dict.fromkeys(["input_fn", "steps", "hooks", "max_steps"]),
    "evaluate": dict.fromkeys(["input_fn", "steps", "hooks", "checkpoint_path", "name"]),
    "predict": dict.fromkeys(["input_fn", "predict_keys", "hooks", "checkpoint_path"]),
    "get_variable_value": {"name": inspect.Parameter.empty},
    "get_variable_names": {},
}


@row("Estimator.defaults")
@pytest.mark.parametrize("method", METHODS)
def test_methods_have_the_documented_arguments_and_defaults(row, method, tmp_path):
    parameters = inspect.signature(getattr(reader(tmp_path), method)).parameters
    assert [(p.name, p.default) for p in parameters.values()] == list(METHODS[method].items())


@row("Estimator.model_dir", "Estimator.config")
def test_the_folder_is_given_or_configured_or_temporary(row, tmp_path):
    given, configured = str(tmp_path / "a"), RunConfig(model_dir=str(tmp_path / "b"))
    assert Estimator(reading, given).model_dir == given
    assert Estimator(reading, config=configured).model_dir == configured.model_dir
    assert Estimator(reading, tmp_path / "a").model_dir == given
    assert Estimator(reading, given, RunConfig(model_dir=given)).model_dir == given
    with pytest.raises(ValueError, match="model_dir"):
        Estimator(reading, given, configured)
    first, second = Estimator(reading), Estimator(reading)
    assert first.model_dir != second.model_dir


@row("Estimator.model_dir")
def test_another_estimator_on_the_folder_goes_on_and_reads_it(row, tmp_path):
    reader(tmp_path).train(batches, steps=2)
    other = reader(tmp_path)
    assert step_of(other) == 2
    assert other.evaluate(batches)["global_step"] == 2
    assert len(list(other.predict(batches))) == 12
    assert step_of(other.train(batches, steps=3)) == 5


@row("Estimator.params", "model_fn.params")
def test_params_are_copied(row, tmp_path):
    params = {"rate": 0.5, "layers": [1, 2]}

    def model_fn(features, labels, mode, params):
        assert params == {"rate": 0.5, "layers": [1, 2]}
        params["layers"].append(3)
        return reading(features, labels, mode)

    estimator = Estimator(model_fn, str(tmp_path), params=params)
    params["layers"].append(4)
    estimator.train(batches, steps=1)
    estimator.evaluate(batches)
    assert params == {"rate": 0.5, "layers": [1, 2, 4]}
    assert estimator.params == {"rate": 0.5, "layers": [1, 2]}


@row("Estimator.config", "model_fn.config")
def test_a_config_comes_to_the_model_function(row, tmp_path):
    model = Model()
    config = RunConfig(tf_random_seed=7, save_summary_steps=3)
    estimator = Estimator(model.function(("features", "labels", "config")), str(tmp_path), config)
    with pytest.raises(Called):
        estimator.train(batches, steps=1)
    assert model.given["config"].tf_random_seed == 7
    assert model.given["config"].save_summary_steps == 3
    assert estimator.config == model.given["config"]
