"""The compiled step on JAX: where its state is, and how several steps are one call."""

import numpy as np
import pytest
from models.keras_nets import BATCHES, X, Y, by_keras, dense, everything, same, seeded

from batchflow.models import train_step, train_steps

pytestmark = [pytest.mark.tensorflow, pytest.mark.backends("jax")]


def calls_of(net, name):
    """Count the calls of one of the two compiled functions of a network's step."""
    step, calls = net.train_function._batchflow_step, []
    compiled = getattr(step, name)

    def counting(*args):
        calls.append(None)
        return compiled(*args)

    setattr(step, name, counting)
    return calls


@pytest.mark.parametrize(
    ("make", "n_single", "n_several"), [(dense, 0, 2), (everything, 8, 0)]
)  # with a convolution: inside of a loop, XLA compiles it to something slow that rounds otherwise
def test_several_steps_are_one_call_where_that_changes_no_bit(keras, make, n_single, n_several):
    ours, theirs = (seeded(keras, make) for _ in range(2))
    train_step(ours, X[:10], Y[:10])
    by_keras(theirs, X[:10], Y[:10])
    single, several = calls_of(ours, "_one"), calls_of(ours, "_several")
    batches = [(X[p], Y[p]) for p in BATCHES[:4]] * 2
    losses = train_steps(ours, batches[:4]) + train_steps(ours, batches[4:])
    assert losses == [by_keras(theirs, *batch)["loss"] for batch in batches]
    assert same(ours, theirs)
    assert (len(single), len(several)) == (n_single, n_several)


def test_a_variable_with_an_assign_of_its_own_sees_its_values(keras):
    seen = []

    class Tells(keras.Variable):
        def assign(self, value):
            seen.append(float(np.asarray(value)))
            return super().assign(value)

    class Holds(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.n = Tells(0.0, trainable=False, dtype="float32")

        def call(self, x):
            return x

    net = keras.Sequential([keras.Input((8, 8, 2)), keras.layers.Flatten(), Holds()])
    net.add(keras.layers.Dense(1))
    net.compile("sgd", "mse")
    train_step(net, X[:10], Y[:10])
    seen.clear()
    train_steps(net, [(X[:10], Y[:10])] * 3)
    assert seen == [0.0]


def test_a_train_step_that_gives_another_shape_is_refused_and_harms_nothing(keras):
    class Wrong(keras.Sequential):
        is_wrong = True

        def train_step(self, state, data):
            logs, (weights, *rest) = super().train_step(state, data)
            if self.is_wrong:
                weights = [weights[0][None], *weights[1:]]
            return logs, (weights, *rest)

    net = Wrong([keras.Input((8, 8, 2)), keras.layers.Flatten(), keras.layers.Dense(1)])
    net.compile("sgd", "mse")
    before = net.get_weights()
    with pytest.raises(ValueError, match=r"shape \(1, 128, 1\).*kernel.*\(128, 1\)"):
        train_step(net, X[:10], Y[:10])
    np.testing.assert_array_equal(before[0], net.get_weights()[0])
    net.is_wrong = False
    train_step(net, X[:10], Y[:10])
    assert not np.array_equal(before[0], net.get_weights()[0])
