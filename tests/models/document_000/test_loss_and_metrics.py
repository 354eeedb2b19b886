"""Document 000: losses, regularizers, metrics, dictionaries of labels, several heads."""

import numpy as np
import pytest
from models.document_000.kit import estimator_of, logger
from models.document_000.rows import row
from models.document_kit import compute, keras, value

from batchflow.models import BaseModel, Classifier, Regressor

pytestmark = pytest.mark.tensorflow

RNG = np.random.default_rng(0)
X = RNG.normal(size=(7, 3)).astype("float32")
Y = RNG.normal(size=(7, 1)).astype("float32") * 3


def ones_dense(mode, features):
    return keras.layers.Dense(1, kernel_initializer="ones")(features)


RESULTS = X.sum(axis=1, keepdims=True)
SQUARES = ((RESULTS - Y) ** 2)[:, 0]
FAR = np.abs(RESULTS - Y)[:, 0]
HUBER = np.where(FAR <= 2, FAR**2 / 2, 2 * FAR - 2)


# ---- losses


def huber_of_2():
    class Huber(keras.losses.Loss):  # whose config does not say all
        def __init__(self, delta):
            super().__init__()
            self.delta = delta

        def call(self, y_true, y_pred):
            return keras.losses.huber(y_true, y_pred, self.delta)

    return Huber(2.0)


LOSSES = {
    "an identifier": (lambda: "mse", SQUARES),
    "a long identifier": (lambda: "mean_squared_error", SQUARES),
    "a class name": (lambda: "MeanSquaredError", SQUARES),
    "a config": (lambda: {"class_name": "Huber", "config": {"delta": 2.0}}, HUBER),
    "a flat config": (lambda: {"class_name": "Huber", "delta": 2.0}, HUBER),
    "a serialized object": (
        lambda: keras.losses.serialize(keras.losses.MeanSquaredError()),
        SQUARES,
    ),
    "an object": (lambda: keras.losses.Huber(2.0), HUBER),
    "an object of a user's class": (lambda: huber_of_2(), HUBER),
    "a function of Keras": (lambda: keras.losses.mean_squared_error, SQUARES),
    "a function": (lambda: lambda y, x: keras.ops.square(y - x), SQUARES),
}


@row("BaseModel.loss", "_build_loss.losses", "_build_loss.loss")
@pytest.mark.parametrize("kind", LOSSES)
def test_a_loss_is_given_per_item_and_as_its_mean(row, kind):
    make, expected = LOSSES[kind]
    model = BaseModel("eval", "Regressor", ones_dense, make(), summaries=None)
    inputs = [keras.Input((3,)), keras.Input((1,))]
    found = model._build_loss(ones_dense("eval", inputs[0]), *inputs)
    losses, loss = compute(inputs, found, [X, Y])
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    np.testing.assert_allclose(loss, expected.mean(), rtol=1e-5)


SHAPES = [((), (1,)), ((1,), ()), ((), ()), ((1,), (1,))]


@row("BaseModel.loss", "_build_loss.labels")
@pytest.mark.parametrize("shapes", SHAPES, ids=str)
@pytest.mark.parametrize("kind", ["mse", "binary_crossentropy", "an object", "a function"])
def test_labels_may_lack_the_last_dimension_of_one(row, kind, shapes):
    loss = {
        "an object": keras.losses.MeanSquaredError,
        "a function": lambda: lambda y, x: keras.ops.mean(keras.ops.square(y - x), axis=-1),
    }.get(kind, lambda: kind)()
    shares = 1 / (1 + np.exp(-X[:, :1]))
    sides = (Y > 0).astype("float32")
    label, result = keras.Input(shapes[0]), keras.Input(shapes[1])
    model = Classifier("train", lambda mode, features: features + 0, loss, summaries=None)
    spec = model(result, label)
    arrays = [sides.reshape(7, *shapes[0]), shares.reshape(7, *shapes[1])]
    losses, found = compute([label, result], (spec.predictions["losses"], spec.loss), arrays)
    if kind == "binary_crossentropy":
        expected = -np.log(np.where(sides > 0, shares, 1 - shares))
    else:
        expected = (sides - shares) ** 2
    np.testing.assert_allclose(found, expected.mean(), rtol=1e-4)
    assert shapes[1] == () or losses.shape == (7,)


@row("BaseModel.loss", "_build_loss.results")
def test_results_may_be_computed_with_numbers(row):
    inputs = [keras.Input((3,)), keras.Input((1,))]
    model = Regressor(
        "train", lambda mode, features: ones_dense(mode, features) * 2 * 0.5, "mse", summaries=None
    )
    loss = compute(inputs, model(*inputs).loss, [X, Y])
    np.testing.assert_allclose(loss, SQUARES.mean(), rtol=1e-5)


@row("BaseModel.loss")
@pytest.mark.parametrize("reduction", ["sum", "sum_over_batch_size", "mean"])
def test_the_reduction_of_a_loss_is_kept(row, reduction):
    inputs = [keras.Input((3,)), keras.Input((1,))]
    loss = keras.losses.MeanSquaredError(reduction=reduction)
    spec = Regressor("train", ones_dense, loss, summaries=None)(*inputs)
    losses, loss = compute(inputs, (spec.predictions["losses"], spec.loss), [X, Y])
    np.testing.assert_allclose(losses, SQUARES, rtol=1e-5)
    expected = SQUARES.sum() if reduction == "sum" else SQUARES.mean()
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


@row("BaseModel.loss", "_build_predictions.dictionary")
def test_the_spec_has_both_losses(row):
    inputs = [keras.Input((3,)), keras.Input((1,))]
    spec = Regressor("train", ones_dense, "mse", summaries=None)(*inputs)
    losses, loss = compute(inputs, (spec.predictions["losses"], spec.loss), [X, Y])
    np.testing.assert_allclose(losses, SQUARES, rtol=1e-5)
    np.testing.assert_allclose(loss, SQUARES.mean(), rtol=1e-5)


@row("BaseModel.loss")
@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ("nothing", ValueError),
        ({"class_name": "Nothing"}, ValueError),
        (3, TypeError),
        (None, TypeError),
    ],
)
def test_what_is_no_loss_is_refused(row, wrong, error):
    inputs = [keras.Input((3,)), keras.Input((1,))]
    with pytest.raises(error, match="loss"):
        Regressor("train", ones_dense, wrong, summaries=None)(*inputs)


@row("BaseModel.loss", "_build_loss.labels")
@pytest.mark.parametrize("mode", ["train", "eval"])
def test_labels_are_needed_for_a_loss(row, mode):
    with pytest.raises(ValueError, match="labels"):
        Regressor(mode, ones_dense, "mse", summaries=None)(keras.Input((3,)))


@row("BaseModel.loss")
def test_regularizers_are_in_the_loss_and_in_its_gradient(row, tmp_path):
    def graph_fn(mode, features):
        regularizer = keras.regularizers.L2(0.25)
        dense = keras.layers.Dense(1, kernel_initializer="ones", kernel_regularizer=regularizer)
        return dense(features)

    zeros = np.zeros((4, 2)), np.full((4, 1), 2.0)  # so that only the regularizer moves the kernel
    estimator = estimator_of(
        tmp_path, graph_fn=graph_fn, optimizer={"class_name": "SGD", "learning_rate": 0.5},
        clip_gradients=None,
    )  # fmt: skip
    seen = logger()
    estimator.train(lambda: zeros, steps=2, hooks=[seen])
    # 2 weights: 0.25 * 2 at first; the gradient of each is 0.25 * 2 * w; the bias goes by 2.
    np.testing.assert_allclose(seen.losses, [4 + 0.5, 0 + 0.5 * 0.75**2], rtol=1e-5)
    np.testing.assert_allclose(value(estimator, "kernel"), 0.75**2, rtol=1e-5)
    np.testing.assert_allclose(
        estimator.evaluate(lambda: zeros)["loss"], 4 * 0 + 0.5 * 0.75**4, rtol=1e-4
    )


# ---- metrics


@row("BaseModel.metrics", "_build_eval_metrics.returns")
def test_metrics_of_every_kind_count_all_batches(row, tmp_path):
    def largest(y, x):
        return keras.ops.max(keras.ops.abs(y - x), axis=-1)

    def make():
        return [
            "mae",
            {"class_name": "RootMeanSquaredError", "config": {"name": "rmse"}},
            keras.metrics.MeanSquaredError(name="square"),
            keras.metrics.serialize(keras.metrics.MeanAbsoluteError(name="again")),
            largest,
        ]

    class Metered(Regressor):
        def __init__(self, *args, **options):
            super().__init__(*args, metrics=make(), **options)

    estimator = estimator_of(tmp_path, Metered, graph_fn=ones_dense, optimizer=None)
    estimator.train(lambda: (X[:2], Y[:2]), steps=1)
    kernel, bias = value(estimator, "kernel"), value(estimator, "bias")
    far = np.abs(X @ kernel + bias - Y)
    parts = [slice(0, 3), slice(3, 4), slice(4, 7)]
    results = estimator.evaluate(lambda: ((X[part], Y[part]) for part in parts))
    expected = {
        "mae": far.mean(),
        "rmse": np.sqrt((far**2).mean()),
        "square": (far**2).mean(),
        "again": far.mean(),
        "largest": far.mean(),
        "loss": (far**2).mean(),
        "global_step": 1,
    }
    assert results.keys() == expected.keys()
    for name, number in expected.items():
        assert results[name] == pytest.approx(number, rel=1e-4), name


@row("BaseModel.metrics", "_build_eval_metrics.results", "_build_eval_metrics.features")
def test_metrics_are_a_dictionary_by_identifier(row):
    inputs = [keras.Input((3,)), keras.Input((1,))]
    model = Regressor("eval", ones_dense, "mse", metrics=["mae", "mse"], summaries=None)
    found = model._build_eval_metrics(ones_dense("eval", inputs[0]), *inputs)
    assert list(found) == ["mae", "mse"]
    assert Regressor("eval", ones_dense, "mse")(*inputs).eval_metric_ops == {}


@row("BaseModel.metrics")
@pytest.mark.parametrize(
    ("wrong", "error"), [(["nothing"], ValueError), ([3], TypeError), (["mae", None], TypeError)]
)
def test_what_is_no_metric_is_refused(row, wrong, error):
    inputs = [keras.Input((3,)), keras.Input((1,))]
    with pytest.raises(error, match="metric"):
        Regressor("eval", ones_dense, "mse", metrics=wrong, summaries=None)(*inputs)


@row("BaseModel.metrics")
@pytest.mark.parametrize(
    ("shape", "n_classes", "expected"),
    [
        ((), 3, "SparseCategoricalAccuracy"),
        ((1,), 3, "SparseCategoricalAccuracy"),
        ((3,), 3, "CategoricalAccuracy"),
        ((1,), 1, "BinaryAccuracy"),
    ],
)
def test_accuracy_is_the_one_that_the_labels_need(row, shape, n_classes, expected):
    def graph_fn(mode, features):
        return keras.layers.Dense(n_classes, activation="sigmoid")(features)

    inputs = [keras.Input((3,)), keras.Input(shape)]
    loss = "sparse_categorical_crossentropy" if n_classes > 1 else "binary_crossentropy"
    loss = loss if shape != (3,) else "categorical_crossentropy"
    spec = Classifier("eval", graph_fn, loss, metrics=["accuracy"], summaries=None)(*inputs)
    metric, *_ = spec.eval_metric_ops["accuracy"]
    assert type(metric).__name__ == expected


# ---- dictionaries and heads


def two_heads(mode, features):
    return {
        "low": keras.layers.Dense(1, kernel_initializer="ones", name="low")(features["x"]),
        "high": keras.layers.Dense(1, kernel_initializer="zeros", name="high")(features["x"]),
    }


FEATURES, LABELS = {"x": X, "unused": Y}, {"low": Y, "high": Y * 2}


@row("BaseModel.loss", "_build_loss.labels", "_build_loss.results", "_build_loss.features")
@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ("mse", SQUARES + 4 * Y[:, 0] ** 2),
        ({"low": "mse", "high": "mae"}, SQUARES + 2 * np.abs(Y[:, 0])),
        ({"high": "mae"}, 2 * np.abs(Y[:, 0])),
    ],
)
def test_the_losses_of_several_heads_are_added_up(row, loss, expected, tmp_path):
    inputs = {"x": keras.Input((3,)), "unused": keras.Input((1,))}
    labels = {"low": keras.Input((1,)), "high": keras.Input((1,))}
    spec = Regressor("eval", two_heads, loss, summaries=None)(inputs, labels)
    tensors = [*inputs.values(), *labels.values()]
    arrays = [*FEATURES.values(), *LABELS.values()]
    found = compute(tensors, (spec.predictions["losses"], spec.loss), arrays)
    np.testing.assert_allclose(found[0], expected, rtol=1e-5)
    np.testing.assert_allclose(found[1], expected.mean(), rtol=1e-5)


@row("BaseModel.metrics", "_build_eval_metrics.labels", "_build_predictions.labels")
def test_several_heads_are_trained_evaluated_and_predicted(row, tmp_path):
    def input_fn():
        return (
            ({name: part[rows] for name, part in FEATURES.items()},
             {name: part[rows] for name, part in LABELS.items()})
            for rows in (slice(0, 4), slice(4, 7))
        )  # fmt: skip

    estimator = estimator_of(
        tmp_path,
        graph_fn=two_heads,
        metrics={"low": ["mae"], "high": ["mae", "mse"]},
        optimizer={"class_name": "SGD", "learning_rate": 0.01},
    )
    estimator.train(input_fn)
    weights = {head: value(estimator, f"{head}/kernel") for head in LABELS}
    biases = {head: value(estimator, f"{head}/bias") for head in LABELS}
    far = {head: np.abs(X @ weights[head] + biases[head] - LABELS[head]) for head in LABELS}
    results = estimator.evaluate(input_fn)
    assert results["low_mae"] == pytest.approx(far["low"].mean(), rel=1e-4)
    assert results["high_mae"] == pytest.approx(far["high"].mean(), rel=1e-4)
    assert results["high_mse"] == pytest.approx((far["high"] ** 2).mean(), rel=1e-4)
    loss = sum((part**2).mean() for part in far.values())
    assert results["loss"] == pytest.approx(loss, rel=1e-4)
    first = next(estimator.predict(input_fn))
    assert set(first) == {"results.low", "results.high", "features.x", "features.unused"}
    np.testing.assert_allclose(
        first["results.low"], X[0] @ weights["low"] + biases["low"], rtol=1e-4
    )


@row("BaseModel.loss", "BaseModel.metrics")
@pytest.mark.parametrize(
    "wrong",
    [
        {"loss": {"middle": "mse"}},
        {"loss": "mse", "metrics": {"middle": ["mae"]}},
    ],
)
def test_a_head_that_is_not_there_is_named(row, wrong):
    features, labels = {"x": keras.Input((3,))}, {"low": keras.Input((1,))}
    model = Regressor("eval", two_heads, **wrong, summaries=None)
    with pytest.raises(ValueError, match="'middle'"):
        model(features, labels)


@row("_build_predictions.results", "_build_predictions.features", "_build_predictions.dictionary")
@pytest.mark.parametrize("mode", ["train", "eval", "infer"])
def test_predictions_are_one_dictionary_of_all_parts(row, mode):
    features = {"x": keras.Input((3,)), "unused": keras.Input((1,))}
    labels = {"low": keras.Input((1,)), "high": keras.Input((1,))}
    model = Regressor(mode, two_heads, "mse", summaries=None)
    is_infer = mode == "infer"
    found = model(features, None if is_infer else labels).predictions
    expected = {"results.low", "results.high", "features.x", "features.unused"}
    if not is_infer:
        expected |= {"labels.low", "labels.high", "losses"}
    assert set(found) == expected
    assert found["features.x"] is features["x"]
    plain = Regressor(mode, ones_dense, "mse", summaries=None)
    x, y = keras.Input((3,)), keras.Input((1,))
    found = plain(x, None if is_infer else y).predictions
    assert set(found) == {"results", "features"} | (set() if is_infer else {"labels", "losses"})


@row("BaseModel.loss")
def test_one_label_in_a_dictionary_is_that_of_the_only_result(row):
    features, labels = {"x": keras.Input((3,))}, {"price": keras.Input((1,))}
    model = Regressor("train", lambda mode, features: ones_dense(mode, features["x"]), "mse",
                      summaries=None)  # fmt: skip
    spec = model(features, labels)
    found = compute([features["x"], labels["price"]], spec.loss, [X, Y])
    np.testing.assert_allclose(found, SQUARES.mean(), rtol=1e-5)
