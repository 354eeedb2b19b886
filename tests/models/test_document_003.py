"""The classic document "Working with models", run as it is written (with tf.compat.v1)."""

import os
import subprocess
import sys

import numpy as np
import pytest

from batchflow import ArrayBatch, Dataset, action, model
from batchflow.testing import hand_over_every_batch

pytestmark = pytest.mark.tensorflow

CLASSIC = """
import numpy as np
import tensorflow.compat.v1 as tf

from batchflow import ArrayBatch, Dataset, action, model

tf.disable_eager_execution()
tf.set_random_seed(1)


class MyArrayBatch(ArrayBatch):
    @action
    def load(self, path):
        assert path == "/some/path"
        rng = np.random.default_rng(self.indices[0])
        self.data = rng.normal(size=(len(self), 28)).astype("float32")
        return self

    @action
    def some_preprocessing(self):
        self.data = self.data / 2
        return self

    @action
    def some_augmentation(self):
        self.data = self.data + self.rng.normal(size=self.data.shape).astype("float32") / 10
        return self

    @model()
    def basic_model():
        input_data = tf.placeholder("float", [None, 28])
        model_output = tf.matmul(input_data, tf.get_variable("w", [28, 28]))
        cost = tf.reduce_mean(tf.square(input_data - model_output))
        optimizer = tf.train.AdamOptimizer(0.01).minimize(cost)
        return [input_data, optimizer, cost]

    @action(model="basic_model"{singleton})
    def train_model(self, model_spec, session):
        input_data, optimizer, cost = model_spec
        session.run([optimizer], feed_dict={{input_data: self.data}})
        return self

    @action(model="basic_model")
    def evaluate_model(self, model_spec, session):
        input_data, _, cost = model_spec
        costs[self.number] = session.run(cost, feed_dict={{input_data: self.data}})
        return self


costs = {{}}
my_dataset = Dataset(60, MyArrayBatch)
{before}
sess = tf.Session()
{after}
full_workflow = (my_dataset.p
                           .load('/some/path')
                           .some_preprocessing()
                           .some_augmentation()
                           .train_model(session=sess)
                           .evaluate_model(session=sess))
full_workflow.run(6, n_epochs=30, shuffle=1, prefetch={prefetch})
assert costs[299] < costs[0] / 2, (costs[0], costs[299])
print(repr(float(costs[299])))
"""


def run_classic(**parts):
    parts = {"singleton": ", singleton=True", "before": "", "after": "", "prefetch": 0, **parts}
    done = subprocess.run(
        [sys.executable, "-c", CLASSIC.format(**parts)],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "order",
    [
        {},  # nobody initialises
        {"after": "sess.run(tf.global_variables_initializer())"},  # too early: nothing is built
        {
            "before": "MyArrayBatch.models['basic_model']",
            "after": "sess.run(tf.global_variables_initializer())",
        },
    ],
    ids=["never", "before the model is built", "after it is built"],
)
def test_the_workflow_runs_in_every_order_of_initialising(order):
    run_classic(**order, prefetch=4)


def test_the_singleton_gives_the_same_training_at_every_prefetch():
    assert run_classic(prefetch=0) == run_classic(prefetch=8)


def test_without_a_singleton_the_workflow_runs_too():
    run_classic(singleton="", prefetch=0)


@pytest.fixture
def graph_batch():
    import tensorflow as tf

    tf1 = tf.compat.v1

    class GraphBatch(ArrayBatch):
        components = "images", "labels"

        @model()
        def some_model():
            with tf.Graph().as_default():
                tf1.set_random_seed(1)
                input_images = tf1.placeholder("float", [None, 3])
                input_labels = tf1.placeholder("float", [None])
                weights = tf1.get_variable("weights", [3, 1])
                output = tf.squeeze(tf.matmul(input_images, weights), 1)
                cost = tf.reduce_mean(tf.square(output - input_labels))
                optimizer = tf1.train.MomentumOptimizer(0.05, 0.9).minimize(cost)
            return [[input_images, input_labels], [optimizer, cost, weights]]

        @action(model="some_model", singleton=True)
        def train_it(self, model_spec, sess):
            input_images, input_labels = model_spec[0]
            optimizer, cost, _ = model_spec[1]
            _, loss = sess.run(
                [optimizer, cost],
                feed_dict={input_images: self.images, input_labels: self.labels},
            )
            self.pipeline.v("loss").append(loss)
            return self

    return GraphBatch


def train(batch_class, prefetch):
    import tensorflow as tf

    rng = np.random.default_rng(0)
    images = rng.normal(size=(80, 3))
    dataset = Dataset.from_arrays(batch_class, images=images, labels=images @ [1.0, -2.0, 3.0])
    spec = batch_class.models["some_model"]
    with tf.compat.v1.Session(graph=spec[0][0].graph) as session:
        pipeline = dataset.p.init_variable("loss", init=list).train_it(session)
        with hand_over_every_batch():
            pipeline.run(8, n_epochs=10, shuffle=3, prefetch=prefetch)
        return pipeline.v("loss"), session.run(spec[1][2])


def test_a_model_with_its_own_graph_is_trained_in_order(graph_batch):
    losses, weights = train(graph_batch, prefetch=0)
    assert losses[-1] < 1e-3
    for prefetch in (2, 8):
        again, same_weights = train(graph_batch, prefetch=prefetch)
        # A new session draws new initial values from the graph's seed: the same.
        assert again == losses
        np.testing.assert_array_equal(same_weights, weights)


def test_a_variable_that_holds_a_value_keeps_it(graph_batch):
    import tensorflow as tf

    spec = graph_batch.models["some_model"]
    graph = spec[0][0].graph
    with tf.compat.v1.Session(graph=graph) as session:
        with graph.as_default():
            session.run(tf.compat.v1.assign(spec[1][2], [[7.0], [7.0], [7.0]]))
        dataset = Dataset.from_arrays(graph_batch, images=np.ones((4, 3)), labels=np.ones(4))
        pipeline = dataset.p.init_variable("loss", init=list).train_it(sess=session)
        pipeline.run(4)
        assert pipeline.v("loss") == [pytest.approx((21 - 1) ** 2)]


@pytest.mark.parametrize("singleton", [False, True])
def test_a_keras_model_in_parallel_actions_is_warned_of(singleton, recwarn):
    import keras

    class Predict(ArrayBatch):
        @model()
        def net():
            return keras.Sequential([keras.Input((5,)), keras.layers.Dense(1)])

        @action(model="net", singleton=singleton)
        def look(self, net):
            return self

    pipeline = Dataset.from_arrays(Predict, data=np.ones((8, 5))).p.look()
    pipeline.run(2)
    assert not recwarn
    if singleton:
        pipeline.run(2, prefetch=2)
    else:
        with pytest.warns(UserWarning, match="'look' works on the Keras model 'net'.*singleton"):
            pipeline.run(2, prefetch=2)


def test_a_keras_model_trains_to_the_same_bits_at_every_prefetch():
    import keras

    from batchflow.testing import digest

    class Fit(ArrayBatch):
        components = "x", "y"

        @model()
        def net():
            keras.utils.set_random_seed(3)
            layers = keras.layers
            net = keras.Sequential(
                [keras.Input((5,)), layers.Dense(8), layers.Dropout(0.3), layers.Dense(1)]
            )
            net.compile("adam", "mse")
            return net

        @action
        def add_noise(self):
            self.x = self.x + self.rng.normal(size=self.x.shape)
            return self

        @action(model="net", singleton=True)
        def train_model(self, net):
            net.train_on_batch(self.x, self.y)
            return self

    rng = np.random.default_rng(0)
    dataset = Dataset.from_arrays(Fit, x=rng.normal(size=(64, 5)), y=rng.normal(size=(64, 1)))
    answers = set()
    for prefetch in (0, 1, 4, 16):
        Fit.models.reset("net")
        with hand_over_every_batch():
            dataset.p.add_noise().train_model().run(8, shuffle=1, n_epochs=3, prefetch=prefetch)
        answers.add(digest(*Fit.models["net"].get_weights()))
    assert len(answers) == 1
