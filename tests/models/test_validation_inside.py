"""A second pipeline on the model that a first one trains: between epochs, or from an action."""

import functools
import gc
import threading
import time
import weakref

import numpy as np
import pytest

from batchflow import ArrayBatch, B, Dataset, V, action, model
from batchflow.testing import digest, nothing_left

pytestmark = [
    pytest.mark.tensorflow,  # needs Keras
    pytest.mark.usefixtures("most_interleavings"),
    # Keras's own conversions on torch, with NumPy 2.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]
each_prefetch = pytest.mark.parametrize("prefetch", [0, 4])
N_EPOCHS, N_BATCHES = 6, 6


def make_net(keras):
    layers = keras.layers
    seeded = keras.initializers.GlorotUniform
    net = keras.Sequential(
        [
            keras.Input((3,)),
            layers.Dense(8, kernel_initializer=seeded(1)),
            layers.Dropout(0.3, seed=2),
            layers.Dense(1, kernel_initializer=seeded(3)),
        ]
    )
    net.compile(keras.optimizers.SGD(0.005, momentum=0.9), "mse")
    return net


def make_class(keras, mode="static"):
    class Rows(ArrayBatch):
        components = "x", "y"

        if mode == "static":

            @model()
            def net():
                return make_net(keras)

        else:

            @model(mode="dynamic")
            def net(batch):
                return make_net(keras)

        @action
        def add_noise(self):
            noise = self.rng.normal(0, 0.1, self.x.shape)
            self.x = self.x + noise.astype("float32")
            return self

        @action(model="net", singleton=True)
        def train(self, net):
            net.train_on_batch(self.x, self.y)
            return self

        @action(model="net", singleton=True)
        def test(self, net):
            errors = np.asarray(net.predict_on_batch(self.x)) - self.y
            self.pipeline.v("errors").append(float((errors**2).mean()))
            return self

        @action(model="net", singleton=True)
        def validate(self, net, testing, prefetch):
            if self.number % N_BATCHES == N_BATCHES - 1:
                self.pipeline.v("scores").append(score(testing, prefetch))
            return self

        @action(model="net", singleton=True)
        def fail(self, net):
            raise OSError("in the middle")

    return Rows


def datasets(batch_class):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 3)).astype("float32")
    y = x @ np.array([[1.0], [-2.0], [3.0]], "float32")
    parts = slice(0, 48), slice(48, 64)
    return [Dataset.from_arrays(batch_class, x=x[part], y=y[part]) for part in parts]


def validation_of(dataset):
    return dataset.p.init_variable("errors", init_on_each_run=list).test()


def score(testing, prefetch):
    return float(np.mean(testing.run(4, prefetch=prefetch).v("errors")))


def weights(net):
    return digest(*map(np.asarray, [*net.variables, *net.optimizer.variables]))


def between_epochs(batch_class, prefetch):
    """Train, and validate in the hands of the consumer at the end of each epoch."""
    train, test = datasets(batch_class)
    testing, scores = validation_of(test), []
    for batch in (
        train.p.add_noise().train().gen_batch(8, n_epochs=N_EPOCHS, shuffle=1, prefetch=prefetch)
    ):
        if batch.number % N_BATCHES == N_BATCHES - 1:
            scores.append(score(testing, prefetch))
    return scores, weights(batch_class.models["net"])


def from_an_action(batch_class, prefetch):
    """The same, by an action of the chain that trains."""
    train, test = datasets(batch_class)
    chain = train.p.init_variable("scores", init=list).add_noise().train()
    chain = chain.validate(validation_of(test), prefetch)
    chain.run(8, n_epochs=N_EPOCHS, shuffle=1, prefetch=prefetch)
    return chain.v("scores"), weights(batch_class.models["net"])


@functools.cache
def by_hand(keras):
    """What both must equal: a plain loop in one thread, without a pipeline for the model."""
    net, scores = make_net(keras), []
    train, test = datasets(make_class(keras))
    for batch in train.p.add_noise().gen_batch(8, n_epochs=N_EPOCHS, shuffle=1):
        net.train_on_batch(batch.x, batch.y)
        if batch.number % N_BATCHES == N_BATCHES - 1:
            errors = [
                np.asarray(net.predict_on_batch(b.x)) - b.y for b in test.gen_batch(4, n_epochs=1)
            ]
            scores.append(float(np.mean([float((e**2).mean()) for e in errors])))
    return scores, weights(net)


@each_prefetch
@pytest.mark.parametrize("way", [between_epochs, from_an_action])
def test_validation_sees_the_model_of_that_moment_and_changes_nothing(keras, way, prefetch):
    batch_class = make_class(keras)
    scores, trained = way(batch_class, prefetch)
    assert (scores, trained) == by_hand(keras)
    assert len(scores) == N_EPOCHS
    assert scores[-1] < scores[0] / 4


@each_prefetch
def test_validation_by_a_pipeline_that_imports_the_model_of_the_chain(keras, prefetch):
    batch_class = make_class(keras)
    train, test = datasets(batch_class)
    training = train.p.init_model("own", make_net, config={"keras": keras}).add_noise()
    training = training.train_model("own", B.x, B.y)
    testing = test.p.import_model("own", training).init_variable("errors", init_on_each_run=list)
    testing = testing.predict_model("own", B.x, save_to=B.z)
    testing = testing.update(V("errors", "a"), ((B.z - B.y) ** 2).mean())
    scores = []
    for batch in training.gen_batch(8, n_epochs=N_EPOCHS, shuffle=1, prefetch=prefetch):
        if batch.number % N_BATCHES == N_BATCHES - 1:
            scores.append(score(testing, prefetch))
    expected, trained = by_hand(keras)
    np.testing.assert_allclose(scores, expected, rtol=1e-6)  # another kind of mean
    assert weights(training.m("own")) == trained


def test_validation_in_a_thread_of_its_own_takes_turns_with_training(keras):
    batch_class = make_class(keras)
    train, test = datasets(batch_class)
    testing, scores, begun, done = validation_of(test), [], threading.Event(), threading.Event()

    def validate():
        begun.set()
        while not done.is_set():
            scores.append(score(testing, 2))

    batch_class.models["net"]
    thread = threading.Thread(target=validate, daemon=True)
    thread.start()
    begun.wait(20)
    try:
        train.p.add_noise().train().run(8, n_epochs=N_EPOCHS, shuffle=1, prefetch=4)
    finally:
        done.set()
        thread.join(60)
    assert not thread.is_alive()
    assert np.isfinite(scores).all()
    # Predicting between steps changes no step.
    assert weights(batch_class.models["net"]) == by_hand(keras)[1]


def test_validation_leaves_no_thread(keras):
    batch_class = make_class(keras)
    from_an_action(batch_class, 4)  # what the framework itself keeps
    with nothing_left():
        from_an_action(batch_class, 4)


# ---- the memory of a dynamic model goes with its pipeline


def run_to_its_end(pipeline):
    pipeline.run(8, prefetch=4)


def leave_next_batch_open(pipeline):
    pipeline.next_batch(8, prefetch=4)
    pipeline.next_batch(8, prefetch=4)


def leave_a_run_open(pipeline):
    run = pipeline.gen_batch(8, prefetch=4)
    next(run)


def fail_in_the_middle(pipeline):
    with pytest.raises(OSError, match="in the middle"):
        pipeline.fail().run(8, prefetch=4)
    failing = pipeline.fail()
    with pytest.raises(OSError, match="in the middle"):
        failing.next_batch(8, prefetch=4)


def is_collected(reference, patience=20):
    """Tell whether an object goes, once the workers have done what they were at."""
    end = time.monotonic() + patience
    while reference() is not None and time.monotonic() < end:
        gc.collect()
        time.sleep(0.001)
    return reference() is None


def test_a_static_model_goes_with_its_class(keras):
    batch_class = make_class(keras)
    between_epochs(batch_class, 4)
    net = weakref.ref(batch_class.models["net"])
    del batch_class
    assert is_collected(net)


@pytest.mark.parametrize(
    "way", [run_to_its_end, leave_next_batch_open, leave_a_run_open, fail_in_the_middle]
)
def test_a_dynamic_model_goes_with_its_pipeline(keras, way):
    made = []
    batch_class = make_class(keras, "dynamic")
    definition = batch_class.models.definition("net")
    define = definition.function

    def define_and_tell(batch):
        net = define(batch)
        made.append(weakref.ref(net))
        return net

    definition.function = define_and_tell
    pipeline = datasets(batch_class)[0].p.add_noise().train()
    way(pipeline)
    del pipeline
    assert made
    assert all(map(is_collected, made))
