"""The first step on TensorFlow is traced once: the variables that it needs are created before."""

import re

import pytest
from models.keras_nets import BATCHES, X, Y, dense, everything, same, scaled, seeded

from batchflow.models import train_step

pytestmark = [pytest.mark.tensorflow, pytest.mark.backends("tensorflow")]


@pytest.mark.parametrize("build", [dense, scaled, everything])
@pytest.mark.parametrize("options", [{}, {"metrics": ["mae", "accuracy"]}], ids=["", "metrics"])
def test_a_first_step_is_traced_once(keras, monkeypatch, build, options):
    traced, step = [], keras.Model.train_step

    def counted(self, data):
        traced.append(data[0].shape[0])
        return step(self, data)

    monkeypatch.setattr(keras.Model, "train_step", counted)
    ours, theirs = (seeded(keras, build) for _ in range(2))
    for net in ours, theirs:
        optimizer = keras.optimizers.deserialize(keras.optimizers.serialize(net.optimizer))
        net.compile(optimizer, "mse", **options)
    for _ in range(2):
        train_step(ours, X[:10], Y[:10])
    assert traced == [10]
    for _ in range(2):
        theirs.train_on_batch(X[:10], Y[:10])
    assert same(ours, theirs)
    paths = [
        [re.sub(r"_\d+", "", variable.path) for variable in net.optimizer.variables]
        for net in (ours, theirs)
    ]
    assert paths[0] == paths[1]


def test_a_step_of_ones_own_makes_the_optimizer_for_the_weights_that_it_trains(keras):
    class Head(keras.Sequential):
        def train_step(self, data):
            with tf.GradientTape() as tape:
                loss = keras.ops.mean((self(data[0], training=True) - data[1]) ** 2)
            weights = self.layers[-1].trainable_weights
            self.optimizer.apply(tape.gradient(loss, weights), weights)
            return {"loss": loss}

    tf = pytest.importorskip("tensorflow")
    layers = [keras.layers.Flatten(), keras.layers.Dense(2), keras.layers.Dense(1)]
    net = Head([keras.Input((8, 8, 2)), *layers])
    net.compile("adam", "mse")
    train_step(net, X[:10], Y[:10])
    assert len(net.optimizer.variables) == 2 + 2 * len(layers[-1].weights)


def test_metrics_that_cannot_be_made_ahead_are_made_by_the_trace(keras):
    class Late(keras.metrics.Metric):
        total = None

        def update_state(self, y, outputs, sample_weight=None):
            if self.total is None:
                self.total = keras.Variable(0.0, trainable=False)  # no initializer: Keras refuses
            self.total.assign_add(keras.ops.sum(outputs))

        def result(self):
            return self.total

        def reset_state(self):
            if self.total is not None:
                self.total.assign(0.0)

    ours, theirs = (seeded(keras, dense) for _ in range(2))
    for net in ours, theirs:
        net.compile("sgd", "mse", metrics=[Late(name="late")])
    for part in BATCHES[:3]:
        found = train_step(ours, X[part], Y[part], fetches=["loss", "late"])
        logs = theirs.train_on_batch(X[part], Y[part], return_dict=True)
        assert [float(value) for value in found] == [float(logs["loss"]), float(logs["late"])]
