"""`feed.to_tf()`: the batches of a feed as a `tf.data.Dataset`."""

import signal

import numpy as np
import pytest

from batchflow import ArgumentTypeError, ArgumentValueError, ArrayBatch, B, Dataset, F, V, action
from batchflow.testing import digest, nothing_left


class _TensorFlow:
    """The package, imported by the first test that asks for something of it."""

    def __getattr__(self, name):
        return getattr(pytest.importorskip("tensorflow"), name)


tf = _TensorFlow()
pytestmark = [pytest.mark.tensorflow, pytest.mark.usefixtures("most_interleavings")]

each_prefetch = pytest.mark.parametrize("prefetch", [0, 3])


class Rows(ArrayBatch):
    components = "x", "y"

    @action
    def noise(self):
        self.x = self.x + self.rng.normal(size=self.x.shape)
        return self

    @action
    def note(self, seen):
        seen.append(self.number)
        return self

    @action
    def fail(self, at, error):
        if self.number == at:
            raise error
        return self


DATASET = Dataset.from_arrays(Rows, x=np.arange(22.0).reshape(11, 2), y=np.arange(11))
NOISY = DATASET.p.noise()
REBATCHED = NOISY.filter(B.y % 3 > 0).rebatch(4)


def feed(chain=NOISY, **options):
    return chain.feed(3, B.x, B.y, **{"shuffle": True, "seed": 3} | options)


def digests(data):
    return [digest(*(value.numpy() for value in values)) for values in data]


def whole(chain=NOISY, n_epochs=3, **options):
    run = chain.gen_batch(3, **{"shuffle": True, "seed": 3} | options, n_epochs=n_epochs)
    return [digest(batch.x, batch.y) for batch in run]


@each_prefetch
@pytest.mark.parametrize("chain", [NOISY, REBATCHED], ids=["plain", "rebatch"])
def test_loops_and_rounds_give_the_bits_of_one_run_over_all_epochs(chain, prefetch):
    data = feed(chain, prefetch=prefetch).to_tf()
    assert digests(data) + digests(data.prefetch(2).repeat(2)) == whole(chain)


def test_the_signature_is_found_out_and_nothing_is_moved_on():
    seen = []
    chain = DATASET.p.note(seen).init_variable("n", init_on_each_run=list)
    chain.set_variable("n", [1])
    data = feed(chain, shuffle=False, seed=None)
    spec = data.to_tf().element_spec
    assert spec == (tf.TensorSpec((None, 2), tf.float64), tf.TensorSpec((None,), tf.int64))
    assert (seen, chain.v("n"), chain.seed, data.epoch) == ([0], [1], None, 0)


def test_ordered_steps_need_a_signature_and_are_taken():
    chain = NOISY.init_variable("n", 0).update(V("n"), V("n") + 1)
    with pytest.raises(ArgumentValueError, match=r"ordered steps.*give signature="):
        feed(chain).to_tf()
    spec = tf.TensorSpec((None, 2), tf.float64), tf.TensorSpec((None,), tf.int64)
    assert digests(feed(chain).to_tf(spec)) == whole(chain, 1)
    assert chain.v("n") == 8  # four batches in each of the two


def test_a_signature_of_another_structure_is_refused():
    for signature in (tf.TensorSpec((None, 2), tf.float64), ("x", "y")):
        with pytest.raises(ArgumentValueError, match="for each of x, y"):
            feed().to_tf(signature)


@each_prefetch
def test_an_exception_is_the_same_object_and_leaves_nothing(prefetch):
    error = LookupError("gone")
    data = feed(NOISY.fail(2, error), prefetch=prefetch).to_tf()
    with nothing_left(), pytest.raises(LookupError, match="gone") as caught:
        list(data)
    assert caught.value is error
    behind = feed(NOISY.fail(2, error), prefetch=prefetch).to_tf()
    with pytest.raises(tf.errors.OpError):
        list(behind.map(lambda x, y: x))
    assert behind.failure is error


@each_prefetch
def test_leaving_a_loop_ends_its_run(prefetch):
    data = feed(n_epochs=None, prefetch=prefetch).to_tf()
    with nothing_left():
        for _ in data:
            break
        for _ in data.map(lambda x, y: x).prefetch(1):
            break


def test_ctrl_c_leaves_nothing():
    data = feed(n_epochs=None, prefetch=2).to_tf()
    with nothing_left(), pytest.raises(KeyboardInterrupt):
        for number, _ in enumerate(data):
            if number == 1:
                signal.raise_signal(signal.SIGINT)


# ---- values


def values_of(value, **options):
    return [x for (x,) in DATASET.p.feed(3, value, **options).to_tf()]


def test_items_of_different_lengths_are_ragged_also_where_a_batch_has_equal_ones():
    lengths = F(lambda y: [np.arange(max(n, 9)) if n > 2 else np.arange(n) for n in y])(B.y)
    tensors = values_of(lengths)
    assert all(isinstance(tensor, tf.RaggedTensor) for tensor in tensors)
    assert [len(row) for tensor in tensors for row in tensor.to_list()] == [0, 1, 2, *[9] * 7, 10]


def test_equal_lengths_first_need_a_signature_for_others():
    lengths = F(lambda y: [np.arange(3 if n < 3 else n) for n in y])(B.y)
    with pytest.raises(ArgumentValueError, match="RaggedTensorSpec"):
        values_of(lengths)
    spec = (tf.RaggedTensorSpec((None, None), tf.int64),)
    data = DATASET.p.feed(3, lengths).to_tf(spec)
    assert [len(row) for (x,) in data for row in x.to_list()] == [3, 3, 3, *range(3, 11)]


def test_texts_numbers_and_structure():
    x = values_of({"a": B.y.astype(str), "b": (B.number, B.y.astype("u1"))})[1]
    assert x["a"].numpy().tolist() == [b"3", b"4", b"5"]
    assert (x["b"][0].numpy(), x["b"][1].dtype) == (1, tf.uint8)


@pytest.mark.parametrize(
    "make",
    [
        lambda x: x.astype("M8[s]"),
        lambda x: np.array([None] * len(x), object),
        lambda x: [np.zeros((n, n)) for n in range(len(x))],
        lambda x: np.ma.masked_greater(x, 2),
    ],
)
def test_what_no_tensor_can_hold_is_refused(make):
    with pytest.raises(ArgumentTypeError, match=r"feed: x=F\(.* cannot become a tensor"):
        values_of(F(make)(B.x))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda y: np.zeros((len(y), y[0] + 1)), "None in the place of what differs"),
        (lambda y: y.astype("f4") if y[0] else y, "one dtype"),
    ],
)
def test_a_batch_of_another_kind_is_refused(change, message):
    with pytest.raises(ArgumentValueError, match=message):
        values_of(F(change)(B.y))
