"""`evaluate` on a Keras model: as `test_on_batch`, in less time, and it changes nothing."""

import numpy as np
import pytest

from batchflow.errors import ModelDefinitionError
from batchflow.models import LazyValue
from batchflow.models.calls import evaluate, train

from .keras_nets import BATCHES, MODELS, X, Y, by_keras, dense, same, seeded

pytestmark = [
    pytest.mark.tensorflow,
    # Keras's own conversions on torch, with NumPy 2.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

NAMES = ("adam and metrics", "nothing built", "loss scale, weighted metrics", "eagerly")


@pytest.mark.parametrize("name", NAMES)
def test_values_are_those_of_test_on_batch_and_training_goes_on_as_without(keras, name):
    ours, theirs = (seeded(keras, MODELS[name]) for _ in range(2))
    for batch in BATCHES:
        logs = evaluate(ours, (X[batch], Y[batch]), {})
        expected = theirs.test_on_batch(X[batch], Y[batch], return_dict=True)
        assert {key: np.float32(value) for key, value in logs.items()} == {
            key: np.float32(value) for key, value in expected.items()
        }
        train(ours, (X[batch], Y[batch]), {})
        by_keras(theirs, X[batch], Y[batch])
    assert same(ours, theirs)


def test_values_are_read_later_and_weights_count(keras):
    net = dense(keras, metrics=["mae"])
    value = evaluate(net, (X, Y), {"sample_weight": np.zeros(len(X))}, "loss")
    assert isinstance(value, LazyValue)
    assert value == 0


def test_metrics_can_go_on_through_several_tests(keras):
    net = dense(keras, metrics=["mae"])
    alone = [float(evaluate(net, (X[n : n + 8], Y[n : n + 8]), {}, "mae")) for n in (0, 8)]
    first = evaluate(net, (X[:8], Y[:8]), {}, "mae")
    second = evaluate(net, (X[8:16], Y[8:16]), {"reset_metrics": False}, "mae")
    assert float(first) == alone[0]
    assert float(second) == pytest.approx(np.mean(alone), rel=1e-5)


def test_a_new_compile_is_seen(keras):
    net = dense(keras)
    before = evaluate(net, (X, Y), {})
    net.compile("sgd", "mae")
    assert evaluate(net, (X, Y), {})["loss"] != before["loss"]


def test_a_model_that_is_not_compiled_is_refused(keras):
    net = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    with pytest.raises(ModelDefinitionError, match="not compiled"):
        evaluate(net, (X, Y), {})
