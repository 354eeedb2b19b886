"""The classic document "Working with models", its graph code, with `tensorflow.compat.v1`."""

import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from own_process import run_alone

from batchflow import ArrayBatch, Dataset, action, model
from batchflow.testing import hand_over_every_batch

pytestmark = pytest.mark.tensorflow

tf = None


@pytest.fixture(autouse=True)
def _tensorflow():
    global tf
    tf = pytest.importorskip("tensorflow").compat.v1


# ---- on the default graph, as it is written: in a program without eager execution, row by row

CLASSIC = """
import threading
import numpy as np
import tensorflow.compat.v1 as tf

from batchflow import ArrayBatch, Dataset, action, model
from batchflow.testing import hand_over_every_batch

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

    @model({mode})
    def basic_model({batch}):
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
sess = tf.{session}()
{after}
full_workflow = (my_dataset.p
                           .load('/some/path')
                           .some_preprocessing()
                           .some_augmentation()
                           .train_model(session=sess)
                           .evaluate_model(session=sess))
with hand_over_every_batch():
    full_workflow.run(6, n_epochs=30, shuffle=1, prefetch={prefetch})
assert costs[299] < costs[0] / 2, (costs[0], costs[299])
result = float(costs[299])
"""

# Each row begins as a program does: with an empty default graph, and no session. One program runs
# them all, as TensorFlow takes seconds to start.
PROGRAM = """
import json, sys, traceback
import tensorflow.compat.v1 as tf

for name, code in json.load(open(sys.argv[1])).items():
    tf.reset_default_graph()
    row = {}
    try:
        exec(compile(code, name, "exec"), row)
        row["sess"].close()
        print(json.dumps([name, row["result"], None]))
    except BaseException:
        print(json.dumps([name, None, traceback.format_exc()]))
"""

INITIALISE = "sess.run(tf.global_variables_initializer())"
STANDARD = {
    "mode": "",
    "batch": "",
    "singleton": ", singleton=True",
    "before": "",
    "session": "Session",
    "after": "",
    "prefetch": 0,
}
ROWS = {
    "never initialised": {"prefetch": 4},
    # too early: there is nothing yet
    "initialised before the model is built": {"after": INITIALISE, "prefetch": 4},
    "initialised after it is built": {
        "before": "MyArrayBatch.models['basic_model']",
        "after": INITIALISE,
        "prefetch": 4,
    },
    "a dynamic model": {"mode": 'mode="dynamic"', "batch": "batch", "prefetch": 4},
    "an interactive session": {"session": "InteractiveSession", "prefetch": 4},
    "singleton, in turn": {"prefetch": 0},
    "singleton, ahead": {"prefetch": 8},
    "no singleton, in turn": {"singleton": "", "prefetch": 0},
    "no singleton, ahead": {"singleton": "", "prefetch": 4},
}


@pytest.fixture(scope="module")
def classic():
    """The last cost of each row, and the traceback of one that failed."""
    pytest.importorskip("tensorflow")
    programs = {name: CLASSIC.format(**{**STANDARD, **parts}) for name, parts in ROWS.items()}
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "rows").write_text(json.dumps(programs))
        said = run_alone(PROGRAM, Path(folder, "rows"), env={"TF_CPP_MIN_LOG_LEVEL": "3"}).stdout
    return {name: found for name, *found in map(json.loads, said.splitlines())}


@pytest.mark.parametrize("name", ROWS)
def test_row_of_the_document_trains_on_the_default_graph(classic, name):
    cost, failure = classic[name]
    assert failure is None, failure
    assert cost > 0


def test_row_singleton_the_same_training_at_every_prefetch(classic):
    assert classic["singleton, in turn"] == classic["singleton, ahead"]


# ---- on a graph of its own, where everything else is eager


def make_class():
    class GraphBatch(ArrayBatch):
        components = "images", "labels"

        @model()
        def some_model():
            with tf.Graph().as_default():
                tf.set_random_seed(1)
                input_images = tf.placeholder("float", [None, 3])
                input_labels = tf.placeholder("float", [None])
                weights = tf.get_variable("weights", [3, 1])
                output = tf.squeeze(tf.matmul(input_images, weights), 1)
                cost = tf.reduce_mean(tf.square(output - input_labels))
                _, running = tf.metrics.mean(cost)  # has local variables
                optimizer = tf.train.MomentumOptimizer(0.05, 0.9).minimize(cost)
            return [[input_images, input_labels], [optimizer, cost, weights, running]]

        @action(model="some_model", singleton=True)
        def train_it(self, model_spec, sess):
            input_images, input_labels = model_spec[0]
            optimizer, cost, _, running = model_spec[1]
            _, loss, mean = sess.run(
                [optimizer, cost, running],
                feed_dict={input_images: self.images, input_labels: self.labels},
            )
            self.pipeline.v("loss").append(loss)
            self.pipeline.v("mean").append(mean)
            return self

    return GraphBatch


@pytest.fixture
def dataset():
    images = np.random.default_rng(0).normal(size=(80, 3))
    return Dataset.from_arrays(make_class(), images=images, labels=images @ [1.0, -2.0, 3.0])


def session_of(dataset):
    spec = dataset.batch_class.models["some_model"]
    return tf.Session(graph=spec[0][0].graph)


def training(dataset, session):
    return (
        dataset.p.init_variable("loss", init=list)
        .init_variable("mean", init=list)
        .train_it(sess=session)
    )


def answer(dataset, prefetch):
    with session_of(dataset) as session, hand_over_every_batch():
        pipeline = training(dataset, session).run(8, n_epochs=10, shuffle=3, prefetch=prefetch)
        weights = session.run(dataset.batch_class.models["some_model"][1][2])
        return pipeline.v("loss"), weights.tolist()


def test_row_tensors_a_graph_of_its_own_beside_eager_code(dataset):
    losses, _ = answer(dataset, prefetch=4)
    assert losses[-1] < 1e-3
    assert pytest.importorskip("tensorflow").executing_eagerly()


def test_row_singleton_a_graph_of_its_own_is_trained_to_the_same_bits(dataset):
    # A new session draws new initial values from the graph's seed: the same.
    assert answer(dataset, 0) == answer(dataset, 2) == answer(dataset, 8)


def test_row_session_a_variable_that_holds_a_value_keeps_it(dataset):
    weights = dataset.batch_class.models["some_model"][1][2]
    with session_of(dataset) as session:
        with session.graph.as_default():
            session.run(tf.assign(weights, [[7.0], [7.0], [7.0]]))
        ones = Dataset.from_arrays(dataset.batch_class, images=np.ones((4, 3)), labels=np.ones(4))
        assert training(ones, session).run(4).v("loss") == [pytest.approx((21 - 1) ** 2)]


def test_row_session_a_second_run_goes_on(dataset):
    with session_of(dataset) as session:
        pipeline = training(dataset, session).run(8)
        first = pipeline.v("loss")[0]
        pipeline.run(8, n_epochs=9)
    assert (len(pipeline.v("loss")), pipeline.v("loss")[-1] < first / 100) == (100, True)


def test_row_session_many_runs_add_nothing_to_the_graph(dataset):
    with session_of(dataset) as session:
        pipeline = training(dataset, session).run(80)
        before = len(session.graph.get_operations())
        for _ in range(5):
            pipeline.run(80)
        assert len(session.graph.get_operations()) == before


def test_row_session_local_variables_are_initialised_too(dataset):
    with session_of(dataset) as session:
        pipeline = training(dataset, session).run(40)
    losses, means = pipeline.v("loss"), pipeline.v("mean")
    np.testing.assert_allclose(means, [losses[0], np.mean(losses)], rtol=1e-5)


def test_row_session_one_of_another_graph_is_the_error_of_tensorflow_with_the_step(dataset):
    with tf.Session(graph=tf.Graph()) as session, pytest.raises((ValueError, TypeError)) as caught:
        training(dataset, session).run(8)
    assert any("in the action 'train_it'" in note for note in caught.value.__notes__)


def test_row_session_a_finalized_graph_is_left_as_it_is(dataset):
    with session_of(dataset) as session:
        with session.graph.as_default():
            session.run([tf.global_variables_initializer(), tf.local_variables_initializer()])
        session.graph.finalize()
        assert len(training(dataset, session).run(8).v("loss")) == 10


def test_row_session_the_descriptor_may_bring_its_own():
    class Own(ArrayBatch):
        @model()
        def counter():
            with tf.Graph().as_default():
                count = tf.get_variable("count", [], initializer=tf.zeros_initializer())
                add = tf.assign_add(count, 1.0)
                session = tf.Session()
                session.run(tf.global_variables_initializer())
            return session, add

        @action(model="counter", singleton=True)
        def train_it(self, model_spec):
            session, add = model_spec
            self.count = session.run(add)
            return self

    run = Dataset.from_arrays(Own, data=np.ones(6)).p.train_it().gen_batch(1, prefetch=3)
    assert [batch.count for batch in run] == [1, 2, 3, 4, 5, 6]
    Own.models["counter"][0].close()
