"""`feed.to_keras(stream=True)`: batches whose number in an epoch is not known, in Keras's loops."""

from contextlib import nullcontext

import numpy as np
import pytest
from models.document_kit import keras

from batchflow import ArgumentValueError, ArrayBatch, B, Dataset, V, action
from batchflow.testing import digest, nothing_left

pytestmark = [pytest.mark.tensorflow, pytest.mark.usefixtures("most_interleavings")]

each_prefetch = pytest.mark.parametrize("prefetch", [0, 4])


class Rows(ArrayBatch):
    components = "x", "y"

    @action
    def noise(self):
        self.x = self.x + self.rng.normal(0, 0.1, size=self.x.shape).astype("float32")
        return self

    @action
    def fail(self, at, error):
        if self.epoch == 1 and self.number == at:
            raise error
        return self


X = np.random.default_rng(0).normal(size=(22, 3)).astype("float32")
DATASET = Dataset.from_arrays(Rows, x=X, y=X.sum(axis=1, keepdims=True))
CHAIN = DATASET.p.noise().filter(B.x[:, 0] > -0.3)


def build():
    net = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, kernel_initializer="ones")])
    net.compile(keras.optimizers.SGD(0.05), "mse")
    return net


def feed(chain=CHAIN, **options):
    return chain.feed(4, B.x, B.y, **{"shuffle": True, "seed": 3} | options)


def weights(net):
    return digest(*(np.asarray(v) for v in net.trainable_variables))


def trained(net, batches):
    for x, y in batches:
        net.train_on_batch(x, y)
    return net


@each_prefetch
@pytest.mark.parametrize("chain", [CHAIN, CHAIN.rebatch(4)], ids=["filter", "rebatch"])
def test_fit_counts_steps_through_the_epochs_of_the_feed(chain, prefetch):
    whole = [*feed(chain, n_epochs=9)]
    net, expected = build(), build()
    with feed(chain, prefetch=prefetch).to_keras(stream=True) as data:
        net.fit(data, steps_per_epoch=5, epochs=3, shuffle=False, verbose=0)
        assert weights(net) == weights(trained(expected, whole[:15]))
        net.fit(data, steps_per_epoch=2, epochs=1, shuffle=False, verbose=0)
        later = feed(chain, first_epoch=3, n_epochs=2)
        two = [values for values, _ in zip(later, range(2), strict=False)]
        assert weights(net) == weights(trained(expected, two))


def test_evaluate_and_predict_count_steps():
    net, first = build(), next(iter(feed()))
    assert np.isclose(
        net.evaluate(feed().to_keras(stream=True), steps=1, verbose=0), net.test_on_batch(*first)
    )
    assert len(net.predict(feed().to_keras(stream=True), steps=2, verbose=0)) > len(first[0])


@pytest.mark.parametrize("method", ["fit", "evaluate", "predict"])
def test_a_loop_that_counts_no_steps_is_refused(method):
    with (
        feed().to_keras(stream=True) as data,
        pytest.raises(ArgumentValueError, match=r"steps.*=n"),
    ):
        options = {"shuffle": False} if method == "fit" else {}
        getattr(build(), method)(data, verbose=0, **options)


@each_prefetch
def test_an_exception_is_the_same_object_and_leaves_nothing(prefetch):
    error = LookupError("gone")
    net = build()
    net.predict(X[:4], verbose=0)
    data = feed(CHAIN.fail(7, error), prefetch=prefetch).to_keras(stream=True)
    # On torch Keras keeps threads of its own, for its callbacks, as long as the traceback is there.
    is_torch = keras.backend.backend() == "torch"
    with nullcontext() if is_torch else nothing_left(), pytest.raises(LookupError) as caught, data:
        net.fit(data, steps_per_epoch=20, shuffle=False, verbose=0)
    assert caught.value is error


@each_prefetch
@pytest.mark.parametrize("stream", [False, True])
def test_a_profile_is_that_of_the_latest_epoch_or_stream(stream, prefetch):
    chain, net = DATASET.p.noise(), build()
    data = feed(chain, prefetch=prefetch, profile=True).to_keras(stream=stream)
    net.fit(data, epochs=2, steps_per_epoch=6 if stream else None, shuffle=False, verbose=0)
    data.close()
    found = chain.last_profile.to_dict()
    calls = {step["name"]: step["calls"] for step in found["steps"]}
    assert found["n_batches"] == 5 if not stream else found["n_batches"] >= 11
    assert calls["noise"] == calls["source"] == 6 if not stream else calls["noise"] >= 12
    assert found["seconds"] > 0
    if not prefetch:
        assert {step["ran_in"] for step in found["steps"]} == {"your thread"}


def test_ordered_steps_are_refused_and_the_way_to_a_stream_is_told():
    chain = CHAIN.init_variable("n", 0).update(V("n"), V("n") + 1)
    with pytest.raises(ArgumentValueError, match="reads ahead of its training"):
        feed(chain).to_keras(stream=True)
    with pytest.raises(ArgumentValueError, match=r"to_keras\(stream=True\)"):
        feed().to_keras()
