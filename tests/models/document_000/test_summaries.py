"""Document 000: summaries, each kind alone and all, read back by TensorBoard's own reader."""

import os

import numpy as np
import pytest
from models.document_000.kit import estimator_of, logger
from models.document_000.rows import row
from models.document_kit import keras, read_events, value
from own_process import run_alone

from batchflow.models import BaseModel, RunConfig

pytestmark = pytest.mark.tensorflow

KINDS = ["activations", "loss", "learning_rate", "variables", "gradients"]
X = np.array([[1.0, 2.0], [3.0, 4.0], [-1.0, 0.0]], "float32")
Y = np.array([[0.0], [1.0], [2.0]], "float32")


def graph_fn(mode, features):
    hidden = keras.layers.Dense(2, kernel_initializer="ones", name="hidden")(features)
    return keras.layers.Dense(1, kernel_initializer="ones", name="out")(hidden)


def train(folder, summaries, steps=4, hooks=None, every=2, optimizer=None):
    # Before the first step everything is 1 (kernels) or 0 (biases).
    pytest.importorskip("tensorboard")
    schedule = {"class_name": "ExponentialDecay", "initial_learning_rate": 0.1, "decay_steps": 1,
                "decay_rate": 0.5}  # fmt: skip
    estimator = estimator_of(
        folder,
        config=RunConfig(save_summary_steps=every),
        graph_fn=graph_fn,
        summaries=summaries,
        optimizer=optimizer or {"class_name": "SGD", "learning_rate": schedule},
    )
    return estimator.train(lambda: (X, Y), steps=steps, hooks=hooks)


def kind_of(tag):
    return tag.split("/")[0]


def extremes(histogram):
    """Give the lowest and the highest edge of the buckets that hold something."""
    filled = histogram[histogram[:, 2] > 0]
    return filled[0, 0], filled[-1, 1]


@row(
    "BaseModel.summaries",
    "summaries.str or list",
    "summaries.activations",
    "summaries.loss",
    "summaries.learning_rate",
    "summaries.variables",
    "summaries.gradients",
    "_build_summary_op.one value or more",
)
@pytest.mark.parametrize(
    "asked", [*KINDS, [], None, ["loss", "variables"], ("gradients",)], ids=str
)
def test_only_the_kinds_that_were_asked_for_are_written(row, asked, tmp_path):
    train(tmp_path, asked)
    wanted = {asked} if isinstance(asked, str) else set(asked or ())
    events = read_events(tmp_path)
    assert {kind_of(tag) for tag in events} == wanted
    for found in events.values():
        assert [step for step, _ in found] == [1, 2, 4]
    files = [name for name in os.listdir(tmp_path) if "tfevents" in name]
    assert bool(files) == bool(wanted)


def test_all_kinds_are_written_with_their_values(tmp_path):
    check_all(tmp_path, "all")


@row("summaries.all", "summaries.str or list")
@pytest.mark.parametrize("asked", ["all", ["all"], KINDS], ids=["all", "[all]", "each"])
def test_all_is_every_kind(row, asked, tmp_path):
    check_all(tmp_path, asked)


def check_all(folder, asked):
    seen = logger()
    estimator = train(folder, asked, hooks=[seen])
    events = read_events(folder)
    assert {kind_of(tag) for tag in events} == set(KINDS)

    losses = dict(events["loss"])
    assert losses[1] == pytest.approx((((2 * X.sum(1) - Y[:, 0]) ** 2).mean()), rel=1e-5)
    for step, loss in losses.items():
        assert loss == pytest.approx(seen.losses[step - 1], rel=1e-5)

    rates = dict(events["learning_rate"])
    np.testing.assert_allclose([rates[1], rates[2], rates[4]], [0.1, 0.05, 0.0125], rtol=1e-5)

    variables = {tag: dict(found) for tag, found in events.items() if kind_of(tag) == "variables"}
    assert sum("kernel" in tag for tag in variables) == 2
    (tag,) = (tag for tag in variables if tag.endswith("hidden/kernel"))
    kernel = value(estimator, "hidden/kernel")
    low, high = extremes(variables[tag][4])
    assert low <= kernel.min() + 1e-5
    assert high >= kernel.max() - 1e-5
    assert variables[tag][4][:, 2].sum() == kernel.size

    gradients = {tag for tag in events if kind_of(tag) == "gradients"}
    assert sum("kernel" in tag for tag in gradients) == 2
    d_results = 2 * (2 * X.sum(1) - Y[:, 0]) / len(X)
    d_out = (X.sum(1) * d_results).sum()
    (tag,) = (tag for tag in gradients if tag.endswith("out/kernel"))
    low, high = extremes(dict(events[tag])[1])
    assert low == pytest.approx(d_out, rel=1e-4)
    assert high == pytest.approx(d_out, rel=1e-4)

    activations = {tag for tag in events if kind_of(tag) == "activations"}
    (tag,) = (tag for tag in activations if tag.endswith("hidden"))
    low, high = extremes(dict(events[tag])[1])
    assert low == pytest.approx(X.sum(1).min(), abs=1e-5)
    assert high == pytest.approx(X.sum(1).max(), abs=1e-5)
    assert dict(events[tag])[1][:, 2].sum() == 2 * len(X)


def test_summaries_change_no_bit_of_training(tmp_path):
    kernels = [
        value(train(tmp_path / str(asked), asked, every=1), "hidden/kernel").tobytes()
        for asked in (None, "all")
    ]
    assert kernels[0] == kernels[1]


@row("summaries.learning_rate")
def test_a_learning_rate_that_does_not_decay_is_written_too(row, tmp_path):
    train(tmp_path, "learning_rate", optimizer={"class_name": "SGD", "learning_rate": 0.25})
    assert [float(rate) for _, rate in read_events(tmp_path)["learning_rate"]] == [0.25] * 3


@row("summaries.variables", "summaries.all")
def test_a_later_call_and_a_later_estimator_add_their_steps(row, tmp_path):
    train(tmp_path, ["loss"], steps=2).train(lambda: (X, Y), steps=2)
    for _ in range(3):
        train(tmp_path, ["loss"], steps=2)
    assert [step for step, _ in read_events(tmp_path)["loss"]] == [1, 2, 4, 6, 8, 10]


@row("BaseModel.summaries")
@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ("losses", ValueError),
        (["loss", "weights"], ValueError),
        (3, TypeError),
        ([None], (TypeError, ValueError)),
    ],
)
def test_kinds_that_are_not_known_are_refused(row, wrong, error):
    with pytest.raises(error, match="summaries"):
        BaseModel("train", "RL", graph_fn, "mse", summaries=wrong)


WITHOUT_TENSORBOARD = """
import sys, warnings
sys.modules["tensorboard"] = None
import keras
from batchflow.models import Regressor

def graph_fn(mode, features):
    return keras.layers.Dense(1)(features)

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for _ in range(3):
        spec = Regressor("train", graph_fn, "mse")(keras.Input((1,)), keras.Input((1,)))
told = [str(one.message) for one in caught if "tensorboard" in str(one.message)]
assert len(told) == 1, told
assert "pip install tensorboard" in told[0]
assert spec.loss is not None and not spec.training_hooks
try:
    Regressor("train", graph_fn, "mse", summaries="loss")(keras.Input((1,)), keras.Input((1,)))
except ImportError as error:
    assert "pip install tensorboard" in str(error)
else:
    raise SystemExit("kinds that were asked for by name are left out in silence")
"""


@row("summaries.all")
def test_without_tensorboard_the_default_warns_once_and_trains(row):
    run_alone(WITHOUT_TENSORBOARD)
