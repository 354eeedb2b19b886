"""What a loop of torch, TensorFlow or JAX gives, and leaves: the same as `gen_batch`."""

import importlib
import signal

import numpy as np
import pytest

from batchflow import ArrayBatch, B, Dataset, V, action
from batchflow.testing import digest, nothing_left

pytestmark = pytest.mark.usefixtures("most_interleavings")


class Rows(ArrayBatch):
    components = "x", "y"

    @action
    def noise(self):
        self.x = self.x + self.rng.normal(size=self.x.shape).astype("f4")
        return self

    @action
    def fail(self, at, error):
        if self.number == at:
            raise error
        return self

    @action
    def interrupt(self, at):
        if self.number == at:
            signal.raise_signal(signal.SIGINT)
        return self


X = np.arange(22, dtype="f4").reshape(11, 2)
DATASET = Dataset.from_arrays(Rows, x=X, y=np.arange(11, dtype="i4"))
NOISY = DATASET.p.noise()
COUNTED = NOISY.init_variable("seen", init=list).update(V("seen", "a"), B.y.sum())
CHAINS = {
    "plain": NOISY,
    "filter": NOISY.filter(B.y % 3 > 0),
    "rebatch": NOISY.filter(B.y % 3 > 0).rebatch(4),
    "merge": NOISY.merge(DATASET.p.noise().run_later(3, shuffle=True)),
    "counted": COUNTED,
    "counted, then rebatch": COUNTED.rebatch(4),
}
FAR = {"executor": "processes", "n_workers": 2, "prefetch": 3}
AHEAD = pytest.mark.parametrize("options", [{}, {"prefetch": 3}], ids=["in turn", "threads"])
EVERYWHERE = pytest.mark.parametrize(
    "options", [{}, {"prefetch": 3}, FAR], ids=["in turn", "threads", "processes"]
)


def through_torch(feed):
    return importlib.import_module("torch").utils.data.DataLoader(feed.to_torch(), batch_size=None)


def through_tf(feed):
    tf = importlib.import_module("tensorflow")
    return feed.to_tf((tf.TensorSpec((None, 2), tf.float32), tf.TensorSpec((None,), tf.int32)))


def through_jax(feed):
    return feed.to_jax(depth=3)


@pytest.fixture(
    params=[
        pytest.param(("torch", through_torch), marks=pytest.mark.torch),
        pytest.param(("tensorflow", through_tf), marks=pytest.mark.tensorflow),
        pytest.param(("jax", through_jax), marks=pytest.mark.jax),
    ],
    ids=lambda param: param[0],
)
def through(request):
    package, made = request.param
    pytest.importorskip(package)
    return made


def feed(chain, **options):
    return chain.feed(3, B.x, B.y, **{"shuffle": True, "seed": 3} | options)


def digests(loop):
    return [digest(*map(np.asarray, values)) for values in loop]


def batches(chain, n_epochs):
    return chain.gen_batch(3, shuffle=True, seed=3, n_epochs=n_epochs)


@AHEAD
@pytest.mark.parametrize("chain", CHAINS)
def test_order_epochs_and_randomness_are_those_of_one_run(through, chain, options):
    data = through(feed(CHAINS[chain], **options))
    expected = [digest(batch.x, batch.y) for batch in batches(CHAINS[chain], 3)]
    assert [d for _ in range(3) for d in digests(data)] == expected


def test_they_are_where_worker_processes_make_the_batches(through):
    data = through(feed(COUNTED, **FAR))
    expected = [digest(batch.x, batch.y) for batch in batches(COUNTED, 2)]
    assert digests(data) + digests(data) == expected


@AHEAD
def test_a_later_epoch_is_that_of_one_run(through, options):
    data = through(feed(NOISY, first_epoch=2, **options))
    assert digests(data) == [digest(batch.x, batch.y) for batch in batches(NOISY, 3)][8:]


@AHEAD
def test_variables_are_behind_each_batch_what_they_are_in_a_run(through, options):
    seen, chain = [], COUNTED.do_nothing()
    for _ in batches(chain, 1):
        seen.append([*chain.v("seen")])
    there = COUNTED.do_nothing()
    data = through(feed(there, **options))
    assert [[*there.v("seen")] for _ in data] == seen


@AHEAD
def test_a_profile_is_that_of_the_latest_loop(through, options):
    chain = NOISY.do_nothing()
    data = through(feed(chain, profile=True, **options))
    for _ in range(2):
        digests(data)
    found = chain.last_profile.to_dict()
    assert found["n_batches"] == 3  # the first is left out of the times
    assert [s["calls"] for s in found["steps"] if s["name"] == "noise"] == [4]


@AHEAD
@pytest.mark.parametrize("n_taken", [1, 3])
def test_a_loop_that_is_left_leaves_the_state_of_its_batches_and_nothing_else(
    through, options, n_taken
):
    chain = COUNTED.do_nothing()
    data = through(feed(chain, n_epochs=None, **options))
    with nothing_left():
        for place, _ in enumerate(data, 1):
            if place == n_taken:
                break
    assert len(chain.v("seen")) == n_taken


@AHEAD
@pytest.mark.parametrize("kind", [LookupError, KeyboardInterrupt, SystemExit])
def test_what_an_action_raises_is_the_same_object_at_its_turn(through, options, kind):
    error, n_given = kind("gone"), 0
    data = through(feed(NOISY.fail(2, error), **options))
    with nothing_left(), pytest.raises(kind) as caught:
        for _ in data:
            n_given += 1
    assert caught.value is error
    assert n_given == 2 or (n_given < 2 and kind is not LookupError)  # to_jax ends at once


@EVERYWHERE
def test_what_an_action_raises_in_a_worker_arrives_with_its_notes(through, options):
    data = through(feed(NOISY.fail(2, LookupError("gone")), **options))
    with nothing_left(), pytest.raises(LookupError, match="gone") as caught:
        digests(data)
    assert any("batch 2" in note for note in caught.value.__notes__)


def test_ctrl_c_in_an_action_leaves_nothing(through):
    with nothing_left(), pytest.raises(KeyboardInterrupt):
        digests(through(feed(NOISY.interrupt(1))))


@EVERYWHERE
def test_ctrl_c_in_the_loop_leaves_nothing(through, options):
    data = through(feed(NOISY, n_epochs=None, **options))
    with nothing_left(), pytest.raises(KeyboardInterrupt):
        for place, _ in enumerate(data):
            if place == 2:
                signal.raise_signal(signal.SIGINT)


@AHEAD
def test_an_exception_of_the_loop_leaves_nothing(through, options):
    data = through(feed(NOISY, n_epochs=None, **options))
    with nothing_left(), pytest.raises(ZeroDivisionError):
        for place, _ in enumerate(data):
            1 / (place - 1)
