"""The harm that the classic document tells of, shown and cured.

"If you prefetch with actions based on TensorFlow models you might encounter that your model hardly
learns anything." Eight workers that train one model at once use stale weights: each computes its
gradients from weights that seven others are about to change. With momentum that diverges. On JAX
the model is destroyed: a step takes the buffers of the weights away from all others. (On torch the
process can crash; only the cure is run there.)

The harm is forced, not awaited: the eight meet at a barrier between the two halves of a step.
"""

import functools
import threading

import numpy as np
import pytest
from kit import Rows

from batchflow import ArrayBatch, B, Dataset, action, model
from batchflow.testing import digest, hand_over_every_batch

pytestmark = [
    pytest.mark.tensorflow,  # needs Keras
    # Keras's own conversions on torch, with NumPy 2.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

N_WORKERS = 8
N_EPOCHS = 60  # of 8 batches; fewer do not always suffice to get far
PATIENCE = 60  # seconds


class Meeting:
    """Where the halves of a step meet: eight at a time without a singleton, one by one with it."""

    def __init__(self, singleton):
        self._barrier = threading.Barrier(1 if singleton else N_WORKERS)

    def __call__(self, *args):
        self._barrier.wait(PATIENCE)


def rows(batch_class):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 3)).astype("float32")
    return Dataset.from_arrays(batch_class, x=x, y=x @ np.array([[1.0], [-2.0], [3.0]], "float32"))


def batches(dataset, n_epochs=N_EPOCHS):
    return dataset.gen_batch(8, n_epochs=n_epochs, shuffle=1)


def run(chain, prefetch=N_WORKERS, n_epochs=N_EPOCHS):
    with hand_over_every_batch():
        return chain.run(8, n_epochs=n_epochs, shuffle=1, prefetch=prefetch)


def is_far(weights):
    """Tell whether weights are nowhere near those that made the data, or no numbers at all."""
    return not np.abs(weights.ravel() - [1.0, -2.0, 3.0]).max() < 100


@pytest.fixture
def tensorflow(keras):
    if keras.backend.backend() != "tensorflow":
        pytest.skip("a demonstration on TensorFlow")
    return pytest.importorskip("tensorflow")


# ---- a graph and a session, as in the document


def make_graph_class(tensorflow, singleton):
    tf = tensorflow.compat.v1

    class GraphBatch(ArrayBatch):
        components = "x", "y"

        @model()
        def some_model():
            with tf.Graph().as_default():
                x, y = tf.placeholder("float", [None, 3]), tf.placeholder("float", [None, 1])
                weights = tf.get_variable("weights", [3, 1], initializer=tf.zeros_initializer())
                cost = tf.reduce_mean(tf.square(tf.matmul(x, weights) - y))
                optimizer = tf.train.MomentumOptimizer(0.05, 0.9)
                gradients = optimizer.compute_gradients(cost)
                with tf.control_dependencies([gradients[0][0]]):
                    met = tf.py_func(Meeting(singleton), [], [], stateful=True)
                with tf.control_dependencies([met]):
                    step = optimizer.apply_gradients(gradients)
            return [x, y], [step, weights]

        @action(model="some_model", singleton=singleton)
        def train_it(self, model_spec, sess):
            (x, y), (step, _) = model_spec
            sess.run(step, feed_dict={x: self.x, y: self.y})
            return self

    return GraphBatch


def graph_weights(tensorflow, singleton, prefetch):
    tf = tensorflow.compat.v1
    dataset = rows(make_graph_class(tensorflow, singleton))
    _, (_, weights) = dataset.batch_class.models["some_model"]
    # Threads enough for eight steps that wait for each other, whatever ran in this process before.
    config = tf.ConfigProto(
        inter_op_parallelism_threads=2 * N_WORKERS, use_per_session_threads=True
    )
    with tf.Session(graph=weights.graph, config=config) as session:
        run(dataset.p.train_it(sess=session), prefetch)
        return session.run(weights)


def test_harm_a_graph_without_a_singleton_diverges(tensorflow):
    assert is_far(graph_weights(tensorflow, singleton=False, prefetch=N_WORKERS))


def test_cure_a_graph_with_a_singleton_learns_as_in_one_thread(tensorflow):
    weights = graph_weights(tensorflow, singleton=True, prefetch=0)
    np.testing.assert_allclose(weights.ravel(), [1, -2, 3], atol=0.05)
    assert digest(graph_weights(tensorflow, singleton=True, prefetch=N_WORKERS)) == digest(weights)


# ---- a Keras model


def make_net(keras):
    net = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, kernel_initializer="zeros")])
    net.compile(keras.optimizers.SGD(0.05, momentum=0.9), "mse")
    return net


def kernel(net):
    return np.asarray(net.weights[0])


def state(net):
    return digest(*map(np.asarray, [*net.variables, *net.optimizer.variables]))


def make_keras_class(keras, step, singleton):
    """Make a class whose action `train_it` does a step: `step(net, meeting, x, y)`."""
    meeting = Meeting(singleton)

    class KerasBatch(ArrayBatch):
        components = "x", "y"

        @model()
        def net():
            return make_net(keras)

        @action(model="net", singleton=singleton)
        def train_it(self, net):
            step(net, meeting, self.x, self.y)
            return self

    return KerasBatch


def step_by_tape(net, meeting, x, y):
    import tensorflow as tf

    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.square(net(x) - y))
    gradients = tape.gradient(loss, net.trainable_variables)
    meeting()
    net.optimizer.apply(gradients, net.trainable_variables)


@pytest.mark.filterwarnings("ignore:the action 'train_it' works on the Keras model:UserWarning")
def test_harm_a_keras_model_on_tensorflow_diverges(keras, tensorflow):
    dataset = rows(make_keras_class(keras, step_by_tape, singleton=False))
    net = dataset.batch_class.models["net"]
    net.optimizer.build(net.trainable_variables)
    run(dataset.p.train_it())
    assert is_far(kernel(net))


def test_cure_the_same_steps_with_a_singleton_are_those_of_one_thread(keras, tensorflow):
    dataset = rows(make_keras_class(keras, step_by_tape, singleton=True))
    serial = make_net(keras)
    for batch in batches(dataset, n_epochs=10):
        step_by_tape(serial, Meeting(singleton=True), batch.x, batch.y)
    run(dataset.p.train_it(), n_epochs=10)
    assert state(dataset.batch_class.models["net"]) == state(serial)
    assert not is_far(kernel(serial))


def step_of_keras(net, meeting, x, y):
    net.train_on_batch(x, y)


def meeting_in_the_middle(net, meeting):
    """Let the steps of a model meet when each has read the weights and none has changed them."""
    net.make_train_function()
    function = net.train_function

    def train_function(*args):
        meeting()
        return function(*args)

    net.train_function = train_function


@pytest.mark.filterwarnings("ignore:the action 'train_it' works on the Keras model:UserWarning")
def test_harm_a_keras_model_on_jax_is_destroyed(keras):
    if keras.backend.backend() != "jax":
        pytest.skip("a demonstration on JAX")
    dataset = rows(make_keras_class(keras, step_of_keras, singleton=False))
    net = dataset.batch_class.models["net"]
    batch = next(batches(dataset))
    net.train_on_batch(batch.x, batch.y)  # builds what the first step builds
    meeting_in_the_middle(net, Meeting(singleton=False))
    with pytest.raises((RuntimeError, ValueError), match=r"deleted|donated"):
        run(dataset.p.train_it())


# ---- the cure, on every backend


@functools.cache
def in_one_thread(keras):
    """Return the state and the kernel of a model that a plain loop has trained."""
    net = make_net(keras)
    for batch in batches(rows(Rows)):
        net.train_on_batch(batch.x, batch.y)
    return state(net), kernel(net)


@pytest.mark.parametrize("prefetch", [1, N_WORKERS])
def test_cure_a_singleton_trains_a_keras_model_to_the_bits_of_one_thread(keras, prefetch):
    dataset = rows(make_keras_class(keras, step_of_keras, singleton=True))
    run(dataset.p.train_it(), prefetch)
    serial, weights = in_one_thread(keras)
    assert state(dataset.batch_class.models["net"]) == serial
    np.testing.assert_allclose(weights.ravel(), [1, -2, 3], atol=0.05)


@pytest.mark.parametrize("prefetch", [1, N_WORKERS])
def test_cure_train_model_needs_no_mark(keras, prefetch):
    chain = rows(Rows).p.init_model("net", make_net, config={"keras": keras})
    assert (
        state(run(chain.train_model("net", B.x, B.y), prefetch).m("net")) == in_one_thread(keras)[0]
    )
