"""Document 000: the optimizer, its default, decay schedules, and what a step is made of."""

import numpy as np
import pytest
from models.document_000.kit import estimator_of, mean_result, ones, weighted
from models.document_000.rows import row
from models.document_kit import keras, value

from batchflow.models import Regressor

pytestmark = pytest.mark.tensorflow


def regressor(optimizer, clip_gradients=None, clip_embed_gradients=None, **options):
    return Regressor(
        "train",
        lambda mode, features: features,
        "mse",
        optimizer,
        summaries=None,
        clip_gradients=clip_gradients,
        clip_embed_gradients=clip_embed_gradients,
        **options,
    )


def steps_of(optimizer, n_steps):
    """Give how far a variable goes in each step, if its gradient is always 1."""
    variable = keras.Variable(np.zeros(1, "float32"))
    one = keras.ops.ones((1,))
    positions = [0.0]
    for _ in range(n_steps):
        optimizer.apply([one], [variable])
        positions.append(float(np.asarray(keras.ops.convert_to_numpy(variable))[0]))
    return -np.diff(positions)


# ---- the optimizer


@row("BaseModel.optimizer", "optimizer.default Adam", "_build_optimizer.creates the optimizer")
def test_the_default_is_adam(row):
    made = regressor(None)._build_optimizer()
    assert isinstance(made, keras.optimizers.Adam)
    assert float(made.learning_rate) == pytest.approx(0.001)
    assert made.get_config() == keras.optimizers.Adam(0.001, name=made.name).get_config()


SGDS = {
    "an identifier": lambda: "sgd",
    "a config": lambda: {"class_name": "SGD", "config": {"learning_rate": 0.01}},
    "a flat config": lambda: {"class_name": "SGD", "learning_rate": 0.01},
    "a serialized object": lambda: keras.optimizers.serialize(keras.optimizers.SGD(0.01)),
    "an object": lambda: keras.optimizers.SGD(0.01),
}


@row("BaseModel.optimizer", "_build_optimizer.creates the optimizer", "_build_train_op.loss")
@pytest.mark.parametrize("kind", SGDS)
def test_an_optimizer_of_every_kind_does_its_steps(row, kind):
    made = regressor(SGDS[kind]())._build_optimizer()
    assert isinstance(made, keras.optimizers.SGD)
    np.testing.assert_allclose(steps_of(made, 2), 0.01, rtol=1e-5)
    train_op = regressor(SGDS[kind](), clip_gradients=0.5)._build_train_op(None)
    assert isinstance(train_op, keras.optimizers.Optimizer)
    np.testing.assert_allclose(steps_of(train_op, 2), 0.01 * 0.5, rtol=1e-5)


@row("BaseModel.optimizer")
@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ("nothing", ValueError),
        ({"class_name": "Nothing"}, ValueError),
        ({"class_name": "SGD", "config": {"decay_type": "nothing"}}, ValueError),
        (3, TypeError),
        ({"class_name": "SGD", "nothing": 3}, (ValueError, TypeError)),
    ],
)
def test_what_is_no_optimizer_is_refused(row, wrong, error):
    with pytest.raises(error, match=r"optimizer|decay_type"):
        regressor(wrong)._build_optimizer()


@row("BaseModel.optimizer")
def test_two_models_may_be_given_one_optimizer(row, tmp_path):
    shared = keras.optimizers.SGD(0.25, momentum=0.5)
    options = {"loss": mean_result, "optimizer": shared, "clip_gradients": None}
    for name in "ab":
        estimator = estimator_of(tmp_path / name, **options)
        estimator.train(ones, steps=2)
        # 0.25, then 0.25 * 1.5: the second begins without the momentum of the first.
        assert value(estimator, "kernel").item() == pytest.approx(1 - 0.625)


# ---- decay schedules: how far a step goes is the learning rate at that step

K = np.arange(5)


def schedules():
    made = keras.optimizers.schedules
    return {
        "ExponentialDecay": (made.ExponentialDecay(0.5, 2, 0.25), 0.5 * 0.25 ** (K / 2)),
        "ExponentialDecay, staircase": (
            made.ExponentialDecay(0.5, 2, 0.25, staircase=True), 0.5 * 0.25 ** (K // 2),
        ),
        "InverseTimeDecay": (made.InverseTimeDecay(0.5, 2, 0.5), 0.5 / (1 + 0.5 * K / 2)),
        "PolynomialDecay": (
            made.PolynomialDecay(0.5, 4, 0.1), 0.4 * (1 - np.minimum(K, 4) / 4) + 0.1,
        ),
        "PiecewiseConstantDecay": (
            made.PiecewiseConstantDecay([1, 3], [0.5, 0.2, 0.1]),
            np.array([0.5, 0.5, 0.2, 0.2, 0.1]),
        ),
        "CosineDecay": (
            made.CosineDecay(0.5, 4), 0.25 * (1 + np.cos(np.pi * np.minimum(K, 4) / 4)),
        ),
    }  # fmt: skip


NAMES = [
    "ExponentialDecay",
    "ExponentialDecay, staircase",
    "InverseTimeDecay",
    "PolynomialDecay",
    "PiecewiseConstantDecay",
    "CosineDecay",
]


@row("BaseModel.optimizer")
@pytest.mark.parametrize("form", ["object", "config", "flat config", "serialized"])
@pytest.mark.parametrize("name", NAMES)
def test_a_learning_rate_decays_by_a_schedule(row, name, form):
    schedule, expected = schedules()[name]
    settings = {key: item for key, item in schedule.get_config().items() if key != "name"}
    class_name = type(schedule).__name__
    optimizer = {
        "object": lambda: keras.optimizers.SGD(schedule),
        "config": lambda: {
            "class_name": "SGD",
            "config": {"learning_rate": {"class_name": class_name, "config": settings}},
        },
        "flat config": lambda: {
            "class_name": "SGD", "learning_rate": {"class_name": class_name, **settings},
        },
        "serialized": lambda: keras.optimizers.serialize(keras.optimizers.SGD(schedule)),
    }[form]()  # fmt: skip
    made = regressor(optimizer)._build_train_op(None)
    np.testing.assert_allclose(steps_of(made, len(K)), expected, rtol=1e-4, atol=1e-6)


@row("BaseModel.optimizer")
@pytest.mark.parametrize("name", NAMES)
def test_a_decay_type_beside_the_rate_is_such_a_schedule(row, name):
    schedule, expected = schedules()[name]
    settings = {key: item for key, item in schedule.get_config().items() if key != "name"}
    rate = settings.pop("initial_learning_rate", None)
    words = "".join(f"_{c.lower()}" if c.isupper() else c for c in type(schedule).__name__)
    config = {"learning_rate": rate, "decay_type": words[1:], **settings}
    made = regressor({"class_name": "SGD", "config": config})._build_train_op(None)
    np.testing.assert_allclose(steps_of(made, len(K)), expected, rtol=1e-4, atol=1e-6)


@row("BaseModel.optimizer", "_build_train_op.loss")
def test_a_decay_goes_on_in_a_later_call_and_in_another_estimator(row, tmp_path):
    optimizer = {
        "class_name": "SGD",
        "config": {"learning_rate": 0.5, "decay_type": "exponential_decay", "decay_steps": 1,
                   "decay_rate": 0.5},
    }  # fmt: skip
    options = {"loss": mean_result, "optimizer": optimizer, "clip_gradients": 0.5}
    weights = []
    estimator = estimator_of(tmp_path, **options)
    for _ in range(2):
        weights.append(value(estimator.train(ones, steps=1), "kernel").item())
    estimator = estimator_of(tmp_path, **options)
    weights.append(value(estimator.train(ones, steps=2), "kernel").item())
    # The gradient is 1, clipped to 0.5.
    np.testing.assert_allclose(weights, [1 - 0.25, 1 - 0.375, 1 - 0.46875], rtol=1e-5)


@row("_build_train_op.loss")
def test_there_is_an_optimizer_in_training_only(row):
    x, y = keras.Input((1,)), keras.Input((1,))
    for mode in ("train", "eval", "infer"):
        made = Regressor(mode, weighted, "mse", summaries=None)
        assert (made(x, y).train_op is not None) == (mode == "train")
