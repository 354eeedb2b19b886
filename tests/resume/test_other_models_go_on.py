"""Estimators, sessions of TensorFlow 1, and objects that hold models, in runs that go on."""

import warnings

import numpy as np
import pytest

from batchflow import ArrayBatch, B, Checkpoint, Dataset, V, action, model
from batchflow.errors import ArgumentValueError

pytestmark = pytest.mark.tensorflow

OPTIONS = {"batch_size": 8, "shuffle": True, "seed": 1, "n_epochs": 2}
X = np.random.default_rng(0).normal(size=(40, 3)).astype("float32")
Y = X.sum(axis=1, keepdims=True)


def goes_on(make, outcome, folder, n_batches):
    """Return what a whole run gives, and what one gives that was saved and gone on with."""
    whole = make("whole")
    whole.run(**OPTIONS)
    expected = outcome(whole)
    with make("again").gen_batch(**OPTIONS, checkpoint=folder) as run:
        for _ in range(n_batches):
            next(run)
    again = make("again")
    again.run(**OPTIONS, checkpoint=folder)
    return expected, outcome(again)


@pytest.mark.parametrize("n_batches", [2, 5])
def test_an_estimator_goes_on_and_its_folder_goes_back(tmp_path, n_batches):
    import keras

    from batchflow.models import Estimator, EstimatorSpec, RunConfig

    def model_fn(features, labels, mode):
        hidden = keras.layers.Dense(4, activation="relu")(features)
        results = keras.layers.Dense(1)(keras.layers.Dropout(0.5)(hidden))
        loss = keras.ops.mean(keras.ops.square(results - labels))
        return EstimatorSpec(mode, loss=loss, train_op=keras.optimizers.Adam(0.01))

    def make(name):
        class Rows(ArrayBatch):
            components = "x", "y"

            @model()
            def learner():
                config = RunConfig(tf_random_seed=3, save_checkpoints_steps=3)
                return Estimator(model_fn, tmp_path / name, config)

        p = Dataset.from_arrays(Rows, x=X, y=Y).p.init_variable("losses", init=list)
        return p.train_model("learner", B.x, B.y, fetches="loss", save_to=V("losses", "a"))

    def outcome(pipeline):
        learner = pipeline.m("learner")
        names = learner.get_variable_names()
        values = {name: learner.get_variable_value(name).tolist() for name in names}
        return values, [float(loss) for loss in pipeline.v("losses")]

    expected, again = goes_on(make, outcome, tmp_path / "run", n_batches)
    assert again == expected
    assert expected[0]["global_step"] == 10


@pytest.fixture
def tf1():
    return pytest.importorskip("tensorflow").compat.v1


def graphs(tf1, *, draws, session_in_model):
    """Return what makes a pipeline that trains a graph of TensorFlow 1, with momentum."""

    def build(tf):
        x, y = tf.placeholder("float32", (None, 3)), tf.placeholder("float32", (None, 1))
        start = tf.random_normal_initializer(seed=3)
        weights = tf.get_variable("weights", (3, 1), initializer=start)
        outputs = tf.matmul(tf.nn.dropout(x, rate=0.3, seed=2) if draws else x, weights)
        loss = tf.reduce_mean(tf.square(outputs - y))
        step = tf.train.MomentumOptimizer(0.01, 0.9).minimize(loss)
        return x, y, loss, step, weights

    def make(_):
        class Rows(ArrayBatch):
            components = "x", "y"

            @model()
            def line():
                with tf1.Graph().as_default() as graph:
                    parts = build(tf1)
                if not session_in_model:
                    return parts
                session = tf1.Session(graph=graph)
                with graph.as_default():
                    session.run(tf1.global_variables_initializer())
                return {"session": session, "parts": parts, "n": 0}

            @action(model="line", singleton=True)
            def fit(self, line, session=None):
                if session is None:
                    session, line["n"] = line["session"], line["n"] + 1
                    line = line["parts"]
                x, y, loss, step, _ = line
                self.loss = session.run([loss, step], {x: self.x, y: self.y})[0]
                return self

        p = Dataset.from_arrays(Rows, x=X, y=Y).p.init_variable("losses", init=list)
        line = Rows.models["line"]
        p = p.fit() if session_in_model else p.fit(session=tf1.Session(graph=line[0].graph))
        return p.update(V("losses", "a"), B.loss)

    return make


@pytest.mark.parametrize("session_in_model", [False, True])
def test_a_graph_goes_on_with_the_variables_of_its_session(tmp_path, tf1, session_in_model):
    make = graphs(tf1, draws=False, session_in_model=session_in_model)
    expected, again = goes_on(make, lambda p: p.v("losses"), tmp_path, 4)
    assert again == expected
    assert len(set(expected)) == 10


def test_random_operations_of_a_graph_are_named(tmp_path, tf1):
    from batchflow.models.tf1_state import random_operations

    make = graphs(tf1, draws=True, session_in_model=False)
    graph = make("").dataset.batch_class.models["line"][0].graph
    assert random_operations(graph) == ["dropout/random_uniform/RandomUniform"]
    with pytest.warns(UserWarning, match=r"session 0: .*'dropout/random_uniform/RandomUniform'"):
        make("").run(**OPTIONS, checkpoint=tmp_path)


@pytest.fixture
def graph(tf1):
    with tf1.Graph().as_default() as graph:
        yield graph


def moved(tf1, make, change):
    """Change the state of a graph, and put it into the session of another; return that."""
    from batchflow.models import tf1_state

    sessions = []
    for _ in range(2):
        with tf1.Graph().as_default() as graph:
            operations = make()
            sessions.append((tf1.Session(graph=graph), operations))
            sessions[-1][0].run([tf1.global_variables_initializer(), tf1.tables_initializer()])
    (one, operations), (other, others) = sessions
    one.run(operations[change])
    tf1_state.put_values(other, tf1_state.values_of(one), "session 0")
    return other, others


def test_variables_that_begin_with_one_tensor_get_a_value_each(tf1):
    def make():
        start = tf1.zeros(3)
        one, other = tf1.Variable(start), tf1.Variable(start)
        return {"both": (one, other), "change": (one.assign([1, 2, 3]), other.assign([4, 5, 6]))}

    session, operations = moved(tf1, make, "change")
    assert [v.tolist() for v in session.run(operations["both"])] == [[1, 2, 3], [4, 5, 6]]


def test_a_table_that_a_saver_would_save_goes_on(tf1):
    import tensorflow as tf

    def make():
        table = tf.lookup.experimental.MutableHashTable("int64", "int64", -1)
        keys = tf1.constant([1, 2], "int64")
        return {"read": table.lookup(keys), "change": table.insert(keys, keys * 10)}

    session, operations = moved(tf1, make, "change")
    assert session.run(operations["read"]).tolist() == [10, 20]


def test_what_queues_and_iterators_hold_is_named(graph, tf1):
    from batchflow.models.tf1_state import warn_of_random_operations

    tf1.FIFOQueue(3, "int32", name="waiting")
    tf1.data.make_one_shot_iterator(tf1.data.Dataset.range(3)).get_next(name="next")
    with pytest.warns(
        UserWarning, match="session 0: what 'waiting', 'OneShotIterator' of its graph"
    ):
        warn_of_random_operations(tf1.Session(graph=graph), "session 0")


def test_a_session_with_hooks_goes_on(tmp_path, tf1):
    make_plain = graphs(tf1, draws=False, session_in_model=False)

    def make(name):
        pipeline = make_plain(name)
        line = pipeline.dataset.batch_class.models["line"]
        with line[0].graph.as_default():
            session = tf1.train.MonitoredSession()
        p = pipeline.dataset.p.init_variable("losses", init=list)
        return p.fit(session=session).update(V("losses", "a"), B.loss)

    expected, again = goes_on(make, lambda p: p.v("losses"), tmp_path, 4)
    assert again == expected
    assert len(set(expected)) == 10


def test_variables_and_generators_of_tensorflow_go_on(tmp_path):
    tf = pytest.importorskip("tensorflow")

    class Rows(ArrayBatch):
        components = "x"

        @model()
        def parts():
            return (
                tf.Variable(1, dtype="bfloat16"),
                tf.Variable("a"),
                tf.random.Generator.from_seed(1),
            )

        @action(model="parts", singleton=True)
        def change(self, parts):
            number, text, generator = parts
            told = float(number.assign_add(1)), text.assign(text.numpy() + b"b").numpy()
            self.pipeline.v("told").append((*told, float(generator.normal(()))))
            return self

    def make(_):
        Rows.models.reset("parts")
        return Dataset.from_arrays(Rows, x=X).p.init_variable("told", init=list).change()

    expected, again = goes_on(make, lambda p: p.v("told"), tmp_path, 4)
    assert again == expected


def test_random_operations_of_tensorflow_that_have_a_global_seed_go_on(tmp_path):
    tf = pytest.importorskip("tensorflow")

    class Rows(ArrayBatch):
        components = "x"

        @action(singleton=True)
        def draw(self):
            self.pipeline.v("drawn").append(tf.random.normal((2,)).numpy().tolist())
            return self

    def make(_):
        tf.random.set_seed(3)
        return Dataset.from_arrays(Rows, x=X).p.init_variable("drawn", init=list).draw()

    expected, again = goes_on(make, lambda p: p.v("drawn"), tmp_path, 4)
    assert again == expected


class Averaging:
    """An object with a model, containers of models, a generator, and data among its attributes."""

    def __init__(self):
        import keras

        keras.utils.set_random_seed(1)
        self.net = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        self.net.compile(keras.optimizers.Adam(0.1), "mse")
        self.averages = [keras.Variable(np.zeros(3)), keras.Variable(np.zeros(1))]
        self.rng = np.random.default_rng(3)
        self.losses = []

    def train(self, x, y):
        loss = self.net.train_on_batch(x * self.rng.normal(), y)
        for average, value in zip(self.averages, self.net.get_weights(), strict=True):
            average.assign(np.asarray(average) * 0.9 + value.ravel())
        self.losses.append(float(loss))
        return loss


def averaging(kind):
    def make(_):
        class Rows(ArrayBatch):
            components = "x", "y"

            @model()
            def learner():
                made = Averaging()
                return {"tuple": (made, {"rng": made.rng}), "object": made}[kind]

            @action(model="learner", singleton=True)
            def fit(self, learner):
                one = learner[0] if kind == "tuple" else learner
                one.train(self.x, self.y)
                return self

        Rows.models["learner"]
        return Dataset.from_arrays(Rows, x=X, y=Y).p.fit()

    def outcome(pipeline):
        found = pipeline.m("learner")
        found = found[0] if kind == "tuple" else found
        return found.losses, [np.asarray(one).tolist() for one in found.averages]

    return make, outcome


@pytest.mark.parametrize("kind", ["object", "tuple"])
def test_models_within_objects_and_tuples_go_on(tmp_path, kind):
    make, outcome = averaging(kind)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # Of Keras's variables, wherever NumPy 2 reads one.
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
        expected, again = goes_on(make, outcome, tmp_path, 3)
    assert again == expected
    assert len(expected[0]) == 10


def test_a_model_of_another_kind_is_refused(tmp_path):
    make, _ = averaging("object")
    make("").run(**OPTIONS, checkpoint=tmp_path)
    other, _ = averaging("tuple")
    with pytest.raises(ArgumentValueError, match="the model 'learner': what was saved has"):
        other("").run(**OPTIONS, checkpoint=Checkpoint(tmp_path, changed="allow"))
