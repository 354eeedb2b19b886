"""BaseModel: its arguments, its parts and their order, and the specs that it gives."""

import keras
import numpy as np
import pytest
from kit import does_not_raise
from models.base_model.nets import KINDS, X, Y, dense, estimator, inputs, layers, linear

from batchflow.models import (
    BaseModel,
    Classifier,
    EstimatorSpec,
    Generator,
    Modes,
    Regressor,
)

pytestmark = pytest.mark.tensorflow


def tensors():
    return keras.Input((4,), name="x"), keras.Input((1,), name="y")


class TestSpecs:
    def test_training(self):
        spec = BaseModel("train", "Regressor", linear, "mse", metrics=["mae"])(*tensors())
        assert isinstance(spec, EstimatorSpec)
        assert spec.mode == Modes.TRAIN
        assert set(spec.predictions) == {"results", "features", "labels", "losses"}
        assert spec.predictions["losses"].shape == (None,)
        assert spec.loss.shape == ()
        assert isinstance(spec.train_op, keras.optimizers.Optimizer)
        assert len(spec.training_hooks) == 1

    def test_evaluation(self):
        spec = BaseModel("eval", "Regressor", linear, "mse", metrics=["mae"])(*tensors())
        assert spec.train_op is None
        assert spec.training_hooks == ()
        assert list(spec.eval_metric_ops) == ["mae"]
        assert "losses" in spec.predictions

    def test_prediction(self):
        features, _ = tensors()
        spec = BaseModel("infer", "Regressor", linear, "mse", metrics=["mae"])(features, None)
        assert spec.loss is None
        assert spec.train_op is None
        assert set(spec.predictions) == {"results", "features"}
        assert list(spec.export_outputs["serving_default"]) == ["results"]

    def test_dictionaries_are_flat(self):
        def graph_fn(mode, features):
            return {"a": layers.Dense(1)(features["x"]), "b": layers.Dense(2)(features["z"])}

        features = {"x": keras.Input((4,)), "z": keras.Input((3,))}
        spec = BaseModel("infer", "Regressor", graph_fn, "mse")(features, None)
        assert set(spec.predictions) == {"results.a", "results.b", "features.x", "features.z"}
        assert set(spec.export_outputs["serving_default"]) == {"results.a", "results.b"}


class TestArguments:
    @pytest.mark.parametrize("mode", ["generate", Modes.ENCODE])
    @pytest.mark.parametrize("model_type", ["Regressor", "Classifier", "RL"])
    def test_modes_of_generators_are_theirs(self, mode, model_type):
        with pytest.raises(TypeError, match="one of generators"):
            BaseModel(mode, model_type, linear, "mse")

    @pytest.mark.parametrize("kind", [Regressor, Classifier])
    def test_the_kinds_refuse_them_too(self, kind):
        with pytest.raises(TypeError, match="one of generators"):
            kind("generate", linear, "mse")

    def test_generators_have_all_modes(self):
        with does_not_raise():
            for mode in Modes:
                Generator(mode, linear, "mse")

    def test_types_and_modes_that_are_not_known(self):
        with pytest.raises(ValueError, match="model_type is one of 'Regressor'"):
            BaseModel("train", "Regresor", linear, "mse")
        with pytest.raises(ValueError, match="mode is one of 'train'"):
            BaseModel("trian", "Regressor", linear, "mse")

    @pytest.mark.parametrize(
        "graph_fn",
        [
            None,
            lambda features: features,
            lambda mode: mode,
            lambda mode, features, depth: features,
        ],
    )
    def test_graph_functions_that_do_not_fit(self, graph_fn):
        with pytest.raises(ValueError, match="graph_fn"):
            BaseModel("train", "Regressor", graph_fn, "mse")

    def test_the_rest(self):
        with pytest.raises(TypeError, match="graph_fn is a function"):
            BaseModel("train", "Regressor", "net", "mse")
        with pytest.raises(ValueError, match="name is a word"):
            BaseModel("train", "Regressor", linear, "mse", name="_model")
        with pytest.raises(TypeError, match="clip_gradients is a number"):
            BaseModel("train", "Regressor", linear, "mse", clip_gradients="0.5")
        with pytest.raises(ValueError, match="Did you mean 'variables'"):
            BaseModel("train", "Regressor", linear, "mse", summaries=["variable"])
        with pytest.raises(TypeError, match="summaries is a name or a list"):
            BaseModel("train", "Regressor", linear, "mse", summaries=3)

    def test_from_config(self):
        config = {
            "mode": "train",
            "graph_fn": linear,
            "loss": {"class_name": "Huber", "config": {"delta": 2.0}},
            "clip_gradients": 0.25,
        }
        model = Regressor.from_config(config)
        assert (model.model_type, model.clip_gradients) == ("Regressor", 0.25)
        assert model(*tensors()).loss.shape == ()
        with pytest.raises(TypeError, match="Did you mean 'loss'"):
            Regressor.from_config({**config, "los": "mse"})
        with pytest.raises(TypeError, match="graph_fn"):
            Regressor.from_config({"mode": "train", "loss": "mse"})


class TestGraphFunctions:
    @pytest.mark.parametrize(
        "graph_fn",
        [
            lambda mode, features: layers.Dense(1)(features),
            lambda mode, inputs: layers.Dense(1)(inputs),
            lambda features, labels, mode: layers.Dense(1)(features),
            lambda mode, features, labels=None, params=None: layers.Dense(1)(features),
            lambda **values: layers.Dense(1)(values["features"]),
        ],
    )
    def test_parameters_come_by_name(self, graph_fn):
        assert BaseModel("train", "Regressor", graph_fn, "mse")(*tensors()).loss is not None

    def test_params_and_config_come_along(self):
        got = []

        def graph_fn(mode, features, params, config):
            got.append((mode, params, config))
            return features

        features, _ = tensors()
        BaseModel("infer", "Regressor", graph_fn, "mse")(features, None, {"a": 1}, "config")
        assert got == [("infer", {"a": 1}, "config")]

    @pytest.mark.parametrize("result", [None, 1.0, {}, {"a": np.ones(3)}])
    def test_results_that_are_no_tensors_are_refused(self, result):
        with pytest.raises(TypeError, match="graph_fn returns a tensor"):
            BaseModel("train", "Regressor", lambda mode, features: result, "mse")(*tensors())


def test_the_parts_are_made_in_their_order():
    calls = []

    class Told(BaseModel):
        def _preprocess(self, features, labels):
            calls.append("preprocess")
            return super()._preprocess(features * 2.0, labels)

        def _build_loss(self, results, features, labels):
            calls.append("loss")
            return super()._build_loss(results, features, labels)

        def _build_eval_metrics(self, results, features, labels):
            calls.append("metrics")
            return super()._build_eval_metrics(results, features, labels)

        def _build_optimizer(self):
            calls.append("optimizer")
            return super()._build_optimizer()

        def _build_train_op(self, loss):
            calls.append("train_op")
            return super()._build_train_op(loss)

        def _build_summary_op(self, results=None, features=None, labels=None):
            calls.append("summaries")
            return super()._build_summary_op(results, features, labels)

        def _build_predictions(self, results, features, labels):
            calls.append("predictions")
            return super()._build_predictions(results, features, labels)

    def graph_fn(mode, features):
        calls.append("graph")
        return linear(mode, features)

    Told("train", "Regressor", graph_fn, "mse")(*tensors())
    assert calls == [
        *("preprocess", "graph", "loss", "metrics", "train_op", "optimizer"),
        *("summaries", "predictions"),
    ]
    calls.clear()
    Told("infer", "Regressor", graph_fn, "mse")(tensors()[0], None)
    assert calls == ["preprocess", "graph", "predictions"]


class TestLosses:
    """The figures that come out, against NumPy."""

    def evaluate(self, tmp_path, loss, graph_fn=linear, features=X, labels=Y, **more):
        trained = estimator(
            lambda mode: Regressor(mode, graph_fn, loss, summaries=None, **more), tmp_path
        )
        trained.train(inputs(features, labels), steps=3)
        data = features, labels
        items = list(trained.predict(lambda: data))
        return trained.evaluate(lambda: data), items, trained

    @pytest.mark.parametrize(
        "loss",
        [
            "mse",
            {"class_name": "MeanSquaredError"},
            {"class_name": "MeanSquaredError", "config": {}},
            keras.losses.MeanSquaredError(),
            keras.losses.mean_squared_error,
            lambda true, predicted: keras.ops.square(true - predicted),
            lambda true, predicted: keras.ops.mean(keras.ops.square(true - predicted)),
        ],
    )
    def test_one_loss_in_many_words(self, tmp_path, loss):
        results, items, _ = self.evaluate(tmp_path, loss, metrics=["mse", "mae"])
        errors = np.stack([item["results"] for item in items]) - Y
        assert results["loss"] == pytest.approx(np.mean(errors**2), rel=1e-4)
        assert results["mse"] == pytest.approx(np.mean(errors**2), rel=1e-4)
        assert results["mae"] == pytest.approx(np.mean(np.abs(errors)), rel=1e-4)

    def test_a_sum_is_a_sum(self, tmp_path):
        loss = keras.losses.MeanSquaredError(reduction="sum")
        results, items, _ = self.evaluate(tmp_path, loss)
        errors = np.stack([item["results"] for item in items]) - Y
        assert results["loss"] == pytest.approx(np.sum(errors**2), rel=1e-4)

    def test_regularization_is_added_once(self, tmp_path):
        def graph_fn(mode, features):
            return layers.Dense(1, kernel_regularizer=keras.regularizers.L2(0.5))(features)

        results, items, trained = self.evaluate(tmp_path, "mse", graph_fn)
        errors = np.stack([item["results"] for item in items]) - Y
        kernel = trained.get_variable_value("Regressor/dense/kernel")
        expected = np.mean(errors**2) + 0.5 * np.sum(kernel**2)
        assert results["loss"] == pytest.approx(expected, rel=1e-4)

    def test_several_heads_add_up_and_have_metrics_of_their_own(self, tmp_path):
        def graph_fn(mode, features):
            hidden = layers.Dense(4)(features)
            return {
                "size": layers.Dense(1)(hidden),
                "kind": layers.Dense(2, activation="softmax")(hidden),
            }

        results, items, _ = self.evaluate(
            tmp_path,
            {"size": "mse", "kind": "sparse_categorical_crossentropy"},
            graph_fn,
            labels={"size": Y, "kind": KINDS},
            metrics={"size": ["mae"], "kind": ["accuracy", "sparse_categorical_crossentropy"]},
        )
        errors = np.stack([item["results.size"] for item in items]) - Y
        shares = np.stack([item["results.kind"] for item in items])
        entropy = np.mean(-np.log(shares[np.arange(len(X)), KINDS]))
        assert results["loss"] == pytest.approx(np.mean(errors**2) + entropy, rel=1e-4)
        assert results["size_mae"] == pytest.approx(np.mean(np.abs(errors)), rel=1e-4)
        hits = np.mean(shares.argmax(axis=1) == KINDS)
        assert results["kind_accuracy"] == pytest.approx(hits)

    def test_one_loss_is_for_all_heads(self, tmp_path):
        def graph_fn(mode, features):
            return {"a": layers.Dense(1)(features), "b": layers.Dense(1)(features)}

        results, items, _ = self.evaluate(
            tmp_path, "mse", graph_fn, labels={"a": Y, "b": -Y}, metrics=["mae"]
        )
        squares = [
            np.mean((np.stack([item[f"results.{head}"] for item in items]) - labels) ** 2)
            for head, labels in (("a", Y), ("b", -Y))
        ]
        assert results["loss"] == pytest.approx(sum(squares), rel=1e-4)
        assert {"a_mae", "b_mae"} < set(results)

    @pytest.mark.parametrize(
        ("labels", "loss", "text"),
        [
            (None, "mse", "labels are missing"),
            ({"c": Y}, "mse", "no label has the name of a result"),
            ({"a": Y}, {"b": "mse"}, "the head 'b' has no label"),
            (Y, "mse", "there is one label for them"),
        ],
    )
    def test_heads_that_do_not_fit_are_refused(self, labels, loss, text):
        def graph_fn(mode, features):
            return {"a": layers.Dense(1)(features), "b": layers.Dense(1)(features)}

        if isinstance(labels, dict):
            labels = {name: keras.Input((1,)) for name in labels}
        elif labels is not None:
            labels = keras.Input((1,))
        with pytest.raises(ValueError, match=text):
            BaseModel("train", "Regressor", graph_fn, loss)(keras.Input((4,)), labels)

    def test_a_generator_makes_its_features_again(self, tmp_path):
        def graph_fn(mode, features):
            return layers.Dense(4)(layers.Dense(2)(features))

        def model_fn(features, mode):
            return Generator(mode, graph_fn, "mse", summaries=None)(features)

        from batchflow.models import Estimator

        trained = Estimator(model_fn, tmp_path).train(lambda: X, steps=5)
        items = np.stack([item["results"] for item in trained.predict(lambda: X)])
        assert trained.evaluate(lambda: X)["loss"] == pytest.approx(
            np.mean((items - X) ** 2), rel=1e-4
        )


@pytest.mark.parametrize(
    ("labels_shape", "units", "expected"),
    [
        ((), 3, "SparseCategoricalAccuracy"),
        ((1,), 3, "SparseCategoricalAccuracy"),
        ((3,), 3, "CategoricalAccuracy"),
        ((1,), 1, "BinaryAccuracy"),
    ],
)
def test_accuracy_is_chosen_by_the_shapes(labels_shape, units, expected):
    def graph_fn(mode, features):
        return layers.Dense(units)(features)

    def loss(true, predicted):
        return keras.ops.mean(predicted, axis=-1)

    model = Classifier("eval", graph_fn, loss, metrics=["accuracy", "accuracy"])
    spec = model(keras.Input((4,)), keras.Input(labels_shape))
    assert list(spec.eval_metric_ops) == ["accuracy", "accuracy_1"]
    assert type(spec.eval_metric_ops["accuracy"][0]).__name__ == expected


def test_everything_is_inside_of_the_name(tmp_path):
    trained = estimator(
        lambda mode: BaseModel(mode, "Regressor", dense, "mse", summaries=None, name="net"),
        tmp_path,
    ).train(inputs(), steps=1)
    names = [name for name in trained.get_variable_names() if "/" in name]
    names = [name for name in names if not name.startswith("optimizer/")]
    assert {"net/hidden/kernel", "net/out/bias"} < set(names)
    assert all(name.startswith("net/") for name in names)


def test_batch_size():
    assert BaseModel.batch_size(X, None) == 64
    assert BaseModel.batch_size({"b": X[:3], "a": X[:3]}, Y) == 3
    symbolic = keras.Input((4,))
    counting = keras.Model(symbolic, BaseModel.batch_size(symbolic, None))
    assert int(counting(X[:7])) == 7
    with pytest.raises(ValueError, match="empty"):
        BaseModel.batch_size({}, None)


def test_a_model_learns(tmp_path):
    trained = estimator(
        lambda mode: Regressor(mode, linear, "mse", keras.optimizers.SGD(0.1), summaries=None),
        tmp_path,
    )
    before = trained.train(inputs(), steps=1).evaluate(lambda: (X, Y))["loss"]
    assert trained.train(inputs(), steps=300).evaluate(lambda: (X, Y))["loss"] < before / 1000
