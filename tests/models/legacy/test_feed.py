"""A feed in the loops of `tf_keras`: document 002 as it is written."""

import itertools

import numpy as np
import pytest
import tf_keras

from batchflow import ArrayBatch, B, Dataset, action
from batchflow.testing import nothing_left

pytestmark = [
    pytest.mark.legacy,
    pytest.mark.filterwarnings("ignore:.*_generator. is deprecated:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*ran out of data:UserWarning"),
]

X = np.random.default_rng(0).normal(size=(60, 4)).astype("float32")
Y = X.sum(axis=1, keepdims=True)


class Points(ArrayBatch):
    components = "x", "y"

    @action
    def shake(self):
        self.x = (self.x + self.rng.normal(size=self.x.shape)).astype("float32")
        return self

    @action
    def fail_at(self, number):
        if self.number == number:
            raise LookupError("a bad file")
        return self


def feed(**options):
    chain = Dataset.from_arrays(Points, x=X, y=Y).p.shake()
    return chain.feed(20, B.x, B.y, shuffle=1, seed=2, **options)


def build():
    tf_keras.utils.set_random_seed(1)
    net = tf_keras.Sequential([tf_keras.Input((4,)), tf_keras.layers.Dense(1)])
    net.compile("sgd", "mse")
    return net


def weights(net):
    return np.concatenate([value.ravel() for value in net.get_weights()])


@pytest.fixture(scope="module")
def by_hand():
    """The weights after two epochs of a plain loop."""
    net = build()
    for x, y in feed(n_epochs=2):
        net.train_on_batch(x, y)
    return weights(net)


@pytest.mark.parametrize("prefetch", [0, 4])
@pytest.mark.parametrize("how", ["fit", "fit_generator"])
def test_the_steps_are_those_of_a_plain_loop(by_hand, how, prefetch):
    net = build()
    with feed(prefetch=prefetch).to_keras() as data, nothing_left():
        getattr(net, how)(data, steps_per_epoch=3, epochs=2, shuffle=False, verbose=0)
        data.close()
    np.testing.assert_array_equal(weights(net), by_hand)


def test_one_call_after_another_goes_on_with_the_epochs(by_hand):
    net, data = build(), feed().to_keras()
    net.fit(data, shuffle=False, verbose=0)
    net.fit_generator(data, shuffle=False, verbose=0)
    np.testing.assert_array_equal(weights(net), by_hand)


def test_evaluations_and_predictions_are_those_of_the_arrays():
    net = build()
    x, y = map(np.concatenate, zip(*feed(), strict=True))
    expected = net.evaluate(x, y, verbose=0)
    for how in ("evaluate", "evaluate_generator"):
        found = getattr(net, how)(feed(prefetch=2).to_keras(), verbose=0)
        assert found == pytest.approx(expected, rel=1e-5)
    for how in ("predict", "predict_generator"):
        found = getattr(net, how)(feed().to_keras(), verbose=0)
        np.testing.assert_allclose(found, net.predict(x, verbose=0), rtol=1e-5)


def test_batches_in_an_order_of_its_own_are_the_same_batches():
    seen = []

    class Seeing(tf_keras.Model):
        def train_step(self, data):
            return {"loss": self.see(data)}

        def see(self, data):
            seen.append(data[0].numpy())
            return 0.0

    net = Seeing()
    net.compile(run_eagerly=True)
    net.fit(feed(prefetch=2).to_keras(), shuffle=True, epochs=2, verbose=0)
    expected = [x for x, _ in feed(n_epochs=2)]
    for epoch in range(2):
        found, wanted = (each[3 * epoch : 3 * epoch + 3] for each in (seen, expected))
        assert any(
            all(map(np.array_equal, order, wanted)) for order in itertools.permutations(found)
        )


@pytest.mark.parametrize("number", [0, 1, 4])
def test_the_error_of_an_action_arrives_as_it_is(number):
    chain = Dataset.from_arrays(Points, x=X, y=Y).p.fail_at(number)
    data = chain.feed(20, B.x, B.y, prefetch=2).to_keras()
    with pytest.raises(LookupError, match="a bad file") as caught:
        build().fit(data, epochs=2, shuffle=False, verbose=0)
    assert any(f"batch {number}," in note for note in caught.value.__notes__)


def test_workers_of_its_own_are_refused():
    with pytest.raises(Exception, match="leave workers at 1"):  # TensorFlow's, with this in it
        build().fit(feed().to_keras(), workers=2, verbose=0)
