"""The classic document "Working with models": descriptors of Keras, torch and scikit-learn."""

import numpy as np
import pytest

from batchflow import ArrayBatch, Dataset, action, model
from batchflow.testing import digest

pytestmark = [
    pytest.mark.usefixtures("most_interleavings"),
    # Keras's own conversions on torch, with NumPy 2.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]


def rows(batch_class):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(48, 3)).astype("float32")
    return Dataset.from_arrays(batch_class, x=x, y=x @ np.array([[1.0], [-2.0], [3.0]], "float32"))


def same_at_every_prefetch(batch_class, weights):
    """Train with the step `fit` of a class; the weights must be the same bits, and changed."""
    before = digest(*weights(batch_class.models["net"]))
    after = set()
    for prefetch in (0, 1, 6):
        batch_class.models.reset("net")
        rows(batch_class).p.fit().run(8, n_epochs=3, shuffle=1, prefetch=prefetch)
        after.add(digest(*weights(batch_class.models["net"])))
    assert len(after) == 1
    assert before not in after


def make_keras_net(kind):
    keras = pytest.importorskip("keras")
    layers = keras.layers
    keras.utils.set_random_seed(3)
    parts = [layers.Dense(8), layers.Dropout(0.3), layers.Dense(1)]
    if kind == "sequential":
        net = keras.Sequential([keras.Input((3,)), *parts])
    elif kind == "functional":
        out = start = keras.Input((3,))
        for part in parts:
            out = part(out)
        net = keras.Model(start, out)
    else:

        class Net(keras.Model):
            def __init__(self):
                super().__init__()
                self.first, self.drop, self.last = parts

            def call(self, x, training=False):
                x = self.drop(self.first(x), training=training)
                return self.last(x)

        net = Net()
        net(np.zeros((1, 3), "float32"))
    net.compile(keras.optimizers.SGD(0.05, momentum=0.9), "mse")
    return net


@pytest.mark.tensorflow
@pytest.mark.parametrize("kind", ["functional", "sequential", "subclassed with training"])
def test_row_descriptor_a_keras_model(kind):
    class Rows(ArrayBatch):
        components = "x", "y"

        @model()
        def net():
            return make_keras_net(kind)

        @action(model="net", singleton=True)
        def fit(self, net):
            net.train_on_batch(self.x, self.y)
            return self

    same_at_every_prefetch(Rows, lambda net: [np.asarray(v) for v in net.variables])


@pytest.mark.torch
def test_row_descriptor_a_torch_module_with_its_optimizer():
    torch = pytest.importorskip("torch")

    class Rows(ArrayBatch):
        components = "x", "y"

        @model()
        def net():
            torch.manual_seed(3)
            net = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
            return net, torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)

        @action(model="net", singleton=True)
        def fit(self, model_spec):
            net, optimizer = model_spec
            optimizer.zero_grad()
            x, y = torch.from_numpy(self.x), torch.from_numpy(self.y)
            torch.nn.functional.mse_loss(net(x), y).backward()
            optimizer.step()
            return self

    same_at_every_prefetch(Rows, lambda spec: [p.detach().numpy() for p in spec[0].parameters()])


def test_row_descriptor_a_scikit_learn_estimator_with_partial_fit():
    linear = pytest.importorskip("sklearn.linear_model")

    class Rows(ArrayBatch):
        components = "x", "y"

        @model()
        def net():
            net = linear.SGDRegressor(random_state=1)
            return net.partial_fit(np.zeros((1, 3), "float32"), [0.0])

        @action(model="net", singleton=True)
        def fit(self, net):
            net.partial_fit(self.x, self.y[:, 0])
            return self

    same_at_every_prefetch(Rows, lambda net: [net.coef_, net.intercept_])


# ---- what it does not say: a warning where a Keras model is trained without it


@pytest.mark.tensorflow
@pytest.mark.parametrize("singleton", [False, True])
def test_row_prefetch_a_keras_model_in_parallel_actions_is_warned_of(singleton, recwarn):
    class Predict(ArrayBatch):
        @model()
        def net():
            return make_keras_net("sequential")

        @action(model="net", singleton=singleton)
        def look(self, net):
            return self

    pipeline = Dataset.from_arrays(Predict, data=np.ones((8, 3))).p.look()
    pipeline.run(2)
    assert not recwarn
    if singleton:
        pipeline.run(2, prefetch=2)
    else:
        with pytest.warns(UserWarning, match="'look' works on the Keras model 'net'.*singleton"):
            pipeline.run(2, prefetch=2)
