"""Which model functions are taken, and what they get."""

import functools

import keras
import pytest
from models.estimator.nets import batches, model_fn

from batchflow.models import Estimator, EstimatorSpec, Modes, RunConfig

pytestmark = pytest.mark.tensorflow


def spec_of(features, mode):
    results = keras.layers.Dense(1)(features["x"])
    loss = None if Modes.is_infer(mode) else keras.ops.mean(keras.ops.square(results))
    return EstimatorSpec(
        mode, predictions=results, loss=loss, train_op=keras.optimizers.SGD(), eval_metric_ops={}
    )


GOT = {}


def keep(features, mode="train", **values):
    GOT.clear()
    GOT.update(values)
    return spec_of(features, mode)


def plain(features, labels, mode):
    return keep(features, mode, labels=labels)


def with_params(features, labels, mode, params):
    return keep(features, mode, params=params)


def with_config(features, labels, mode, params, config):
    return keep(features, mode, params=params, config=config)


def with_everything(features, labels, mode, params, config, model_dir):
    return keep(features, mode, params=params, config=config, model_dir=model_dir)


def in_another_order(model_dir, mode, config, labels, features):
    return keep(features, mode, config=config, model_dir=model_dir)


def without_mode(features, labels):
    return keep(features, "infer" if labels is None else "train", labels=labels)


def with_a_default(features, labels, mode, depth=3):
    return keep(features, mode, depth=depth)


def with_any(features, mode, **others):
    return keep(features, mode, **others)


class Model:
    def __call__(self, features, labels, mode, params):
        return keep(features, mode, params=params)

    def method(self, features, labels, mode):
        return keep(features, mode)

    @classmethod
    def class_method(cls, features, labels, mode):
        return keep(features, mode)

    @staticmethod
    def static_method(features, labels, mode):
        return keep(features, mode)


@pytest.mark.parametrize(
    "function",
    [
        plain,
        with_params,
        with_config,
        with_everything,
        in_another_order,
        without_mode,
        with_a_default,
        with_any,
        Model(),
        Model().method,
        Model.class_method,
        Model.static_method,
        functools.partial(with_params, params={"of": "the partial"}),
        lambda features, labels, mode: spec_of(features, mode),
    ],
)
def test_parameters_come_by_name(tmp_path, function):
    config = RunConfig(save_summary_steps=7)
    estimator = Estimator(function, tmp_path, config)
    estimator.train(batches, steps=1)
    for name, value in GOT.items():
        if name == "config":
            assert value.save_summary_steps == 7
            assert value.model_dir == str(tmp_path)
        elif name == "model_dir":
            assert value == str(tmp_path)
        elif name == "params":
            assert value in ({}, {"of": "the partial"})
    GOT.clear()
    assert estimator.evaluate(batches, steps=1)["global_step"] == 1
    GOT.clear()
    assert next(estimator.predict(batches)).shape == (1,)
    assert GOT.get("labels") is None


@pytest.mark.parametrize(
    ("function", "params", "warns"),
    [
        (with_params, None, True),
        (in_another_order, None, False),
        (with_params, {}, False),
        (with_params, {"rate": 1}, False),
        (with_any, None, False),
        (plain, None, False),
        (Model(), None, True),
        (functools.partial(with_params, params={"of": "the partial"}), None, False),
    ],
)
def test_params_that_are_taken_and_not_given_are_warned_of(function, params, warns, caplog):
    Estimator(function, params=params)
    assert [record.levelname for record in caplog.records] == ["WARNING"] * warns
    assert ("params" in caplog.text) == warns


def test_params_are_copied(tmp_path):
    params = {"sizes": [1, 2]}
    estimator = Estimator(with_params, tmp_path, params=params)
    params["sizes"].append(3)
    estimator.params["sizes"].append(4)
    estimator.train(batches, steps=1)
    assert GOT["params"] == {"sizes": [1, 2]}


@pytest.mark.parametrize(
    ("function", "params", "text"),
    [
        (None, None, "model_fn is missing"),
        (lambda labels, mode: None, None, "no parameter 'features'"),
        (plain, {"a": 1}, "params are given"),
        (lambda features, labels, mode, rate: None, None, "a parameter 'rate'"),
        (lambda features, lables, mode: None, None, "Did you mean 'labels'"),
        (lambda features, /, labels: None, None, "by position only"),
    ],
)
def test_functions_that_do_not_fit_are_refused(function, params, text):
    with pytest.raises(ValueError, match=text):
        Estimator(function, params=params)


def test_what_is_no_function_is_refused():
    with pytest.raises(TypeError, match="is a function"):
        Estimator(7)
    with pytest.raises(TypeError, match="params is a dictionary"):
        Estimator(with_params, params=[1])
    with pytest.raises(TypeError, match="RunConfig"):
        Estimator(plain, config={"model_dir": "a"})


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (lambda features, labels, mode: None, "is a return missing"),
        (lambda features, labels, mode: {"loss": 1}, "got dict"),
        (lambda features, labels, mode: spec_of(features, "infer"), "pass its mode on"),
        (lambda features, mode: spec_of(features, mode), "gives labels, but"),
    ],
)
def test_results_that_do_not_fit_are_refused(tmp_path, function, text):
    with pytest.raises(ValueError, match=text):
        Estimator(function, tmp_path).train(batches, steps=1)


def test_model_dir_comes_from_one_place(tmp_path):
    config = RunConfig(model_dir=tmp_path / "a")
    assert Estimator(plain, config=config).model_dir == str(tmp_path / "a")
    assert Estimator(plain, tmp_path / "a", config).config.model_dir == str(tmp_path / "a")
    with pytest.raises(ValueError, match="give one of them"):
        Estimator(plain, tmp_path / "b", config)
    assert Estimator(plain).model_dir != Estimator(plain).model_dir


@pytest.mark.parametrize(
    "settings",
    [
        {"save_checkpoints_steps": 0},
        {"save_checkpoints_steps": 5, "save_checkpoints_secs": 5},
        {"keep_checkpoint_max": -1},
        {"save_summary_steps": 0},
        {"log_step_count_steps": 0},
    ],
)
def test_settings_that_make_no_sense_are_refused(settings):
    with pytest.raises(ValueError, match="RunConfig"):
        RunConfig(**settings)


@pytest.mark.parametrize("settings", [{"tf_random_seed": "a"}, {"save_summary_steps": None}])
def test_settings_of_another_type_are_refused(settings):
    with pytest.raises(TypeError, match="RunConfig"):
        RunConfig(**settings)


class TestSpec:
    def test_modes_are_their_values(self):
        assert Modes.TRAIN == "train"
        assert f"{Modes.PREDICT}" == "infer"
        assert [mode for mode in Modes if Modes.is_infer(mode)] == ["infer", "generate", "encode"]
        assert Modes.is_train("train")
        assert Modes.is_eval(Modes.EVAL)
        assert not Modes.is_eval("train")

    def test_what_the_mode_needs_is_asked_for(self):
        x = keras.Input((2,))
        loss = keras.ops.mean(x)
        with pytest.raises(ValueError, match="loss is missing"):
            EstimatorSpec("eval", predictions=x)
        with pytest.raises(ValueError, match="train_op is missing"):
            EstimatorSpec("train", loss=loss)
        with pytest.raises(ValueError, match="predictions is missing"):
            EstimatorSpec("infer", loss=loss)
        with pytest.raises(ValueError, match="mode is one of"):
            EstimatorSpec("tarin", loss=loss)

    def test_parts_of_another_kind_are_refused(self):
        x = keras.Input((2,))
        loss = keras.ops.mean(x)
        with pytest.raises(ValueError, match="loss is a scalar"):
            EstimatorSpec("eval", loss=x)
        with pytest.raises(TypeError, match=r"predictions\.a is a KerasTensor"):
            EstimatorSpec("infer", predictions={"a": 1.0})
        with pytest.raises(TypeError, match="Optimizer"):
            EstimatorSpec("train", loss=loss, train_op="adam")
        with pytest.raises(ValueError, match="eval_metric_ops is a dictionary"):
            EstimatorSpec("eval", loss=loss, eval_metric_ops=["accuracy"])
        with pytest.raises(ValueError, match="the metric 'a' is"):
            EstimatorSpec("eval", loss=loss, eval_metric_ops={"a": loss})
        with pytest.raises(ValueError, match="export_outputs is a dictionary"):
            EstimatorSpec("infer", predictions=x, export_outputs=x)

    def test_it_cannot_be_changed(self):
        spec = EstimatorSpec("infer", predictions=keras.Input((2,)))
        with pytest.raises(AttributeError):
            spec.loss = 1


def test_a_spec_of_other_tensors_is_refused(tmp_path):
    other = keras.Input((5,), name="another")

    def foreign(features, labels, mode):
        return spec_of({"x": other}, mode)

    with pytest.raises(ValueError) as caught:
        Estimator(foreign, tmp_path).train(batches, steps=1)
    assert "computed from the features" in caught.value.__notes__[0]


def test_names_of_variables_do_not_depend_on_what_was_built_before(tmp_path):
    keras.layers.Dense(3)
    estimator = Estimator(model_fn, tmp_path).train(batches, steps=1)
    names = estimator.get_variable_names()
    assert {"hidden/kernel", "logits/bias", "global_step"} < set(names)
    plain_estimator = Estimator(plain, tmp_path / "plain").train(batches, steps=1)
    assert "dense/kernel" in plain_estimator.get_variable_names()
