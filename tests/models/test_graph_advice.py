"""The first errors of a program for TensorFlow 1 say what to write."""

import functools

import numpy as np
import pytest

from batchflow import ArgumentValueError, ArrayBatch, B, C, Dataset, action, model

pytestmark = pytest.mark.tensorflow


@pytest.fixture
def tf():
    return pytest.importorskip("tensorflow").compat.v1


@pytest.fixture
def rows(tf):
    class Rows(ArrayBatch):
        @model()
        def eager():
            return tf.placeholder("float", [None, 3])

        @model()
        def graph():
            with tf.Graph().as_default():
                given = tf.placeholder("float", [None, 3])
                weights = tf.get_variable("weights", [3, 3])
                return given, tf.reduce_mean(tf.matmul(given, weights))

        @action(model="graph", singleton=True)
        def train(self, graph, session):
            self.cost = session.run(graph[1], {graph[0]: self.data})
            return self

    return Rows


def notes_of(caught):
    return " ".join(caught.value.__notes__)


def test_a_definition_without_a_graph(rows):
    with pytest.raises(RuntimeError) as caught:
        rows.models["eager"]
    assert "with tf.Graph().as_default():" in notes_of(caught)


def test_a_session_as_the_initial_value_of_a_variable(tf, rows):
    chain = Dataset.from_arrays(rows, data=np.ones((2, 3))).p
    with tf.Session(graph=rows.models["graph"][0].graph) as session:
        with pytest.raises(TypeError) as caught:
            chain.init_variable("session", {"now": session.graph})
        assert "init_variable('session', init=lambda: session)" in notes_of(caught)


def test_a_session_that_the_run_does_not_see(tf, rows):
    dataset = Dataset.from_arrays(rows, data=np.ones((2, 3)))
    session = tf.Session(graph=rows.models["graph"][0].graph)
    with session, pytest.raises(tf.errors.FailedPreconditionError) as caught:
        dataset.pipeline({"session": session}).train(C("session")).run(2)
    assert "sess.run(tf.global_variables_initializer())" in notes_of(caught)


def test_a_session_of_another_graph(tf, rows):
    with tf.Session(graph=tf.Graph()) as session, pytest.raises(TypeError) as caught:
        Dataset.from_arrays(rows, data=np.ones((2, 3))).p.train(session).run(2)
    assert "tf.Session(graph=...)" in notes_of(caught)


def test_a_config_that_is_taken_for_the_parameter_of_that_name():
    from batchflow.models import Estimator

    entries = {"model_fn": lambda features: features}
    chain = Dataset.from_arrays(ArrayBatch, data=np.ones((2, 3))).p
    with pytest.raises(ArgumentValueError, match="model_fn is missing") as caught:
        chain.init_model("est", Estimator, config=entries).train_model("est", B.data).run(2)
    assert "functools.partial(Estimator, model_fn=...)" in notes_of(caught)
    made = chain.init_model("est", functools.partial(Estimator, **entries)).m("est")
    assert isinstance(made, Estimator)
