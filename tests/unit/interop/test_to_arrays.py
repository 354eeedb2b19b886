"""`pipeline.to_arrays`: one pass as arrays."""

import numpy as np
import pytest

from batchflow import ArgumentTypeError, ArgumentValueError, ArrayBatch, B, Dataset, F, V, action
from batchflow.interop import to_arrays
from batchflow.testing import digest, nothing_left


class Rows(ArrayBatch):
    components = "x", "y"

    @action
    def noise(self):
        self.x = self.x + self.rng.normal(size=self.x.shape)
        return self

    @action
    def fail(self, at):
        if self.number == at:
            raise LookupError("gone")
        return self


X, Y = np.arange(22.0).reshape(11, 2), np.arange(11)
DATASET = Dataset.from_arrays(Rows, x=X, y=Y)
NOISY = DATASET.p.noise()


@pytest.mark.parametrize("prefetch", [0, 3])
@pytest.mark.parametrize(
    "chain",
    [NOISY, NOISY.filter(B.y % 3 > 0), NOISY.filter(B.y % 3 > 0).rebatch(4)],
    ids=["plain", "filter", "rebatch"],
)
def test_arrays_are_the_batches_of_a_run_put_together(chain, prefetch):
    options = {"shuffle": 2, "n_epochs": 2}
    batches = [(b.x, b.y) for b in chain.gen_batch(3, **options)]
    expected = [np.concatenate(parts) for parts in zip(*batches, strict=True)]
    arrays = chain.to_arrays(B.x, B.y, batch_size=3, prefetch=prefetch, **options)
    assert digest(*arrays) == digest(*expected)


def test_one_expression_gives_an_array_in_the_order_of_the_dataset():
    assert np.array_equal(DATASET.p.to_arrays(B.x), X)


def test_options_set_ahead_hold():
    kept = DATASET.p.run_later(4, n_iters=2).to_arrays(B.y)
    assert kept.tolist() == list(range(8))


def test_batches_of_different_dtypes_are_joined_without_a_change():
    of_batch = F(lambda y: y.astype("f4") + 0.5 if y[0] else y)(B.y)
    assert DATASET.p.to_arrays(of_batch, batch_size=6).tolist() == [*range(6), *Y[6:] + 0.5]


def test_items_of_different_shapes_are_objects_in_a_batch_and_refused_between_batches():
    ragged = F(lambda y: [np.arange(n) for n in y])(B.y)
    items = DATASET.p.to_arrays(ragged)
    assert [len(item) for item in items] == Y.tolist()
    wider = F(lambda y: np.zeros((len(y), y[0] + 1)))(B.y)
    with pytest.raises(
        ArgumentValueError, match=r"in batch 1, has items of shape \(7,\), .*\(1,\)"
    ):
        DATASET.p.to_arrays(wider, batch_size=6)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (B.number, "B.number, in batch 0, is one value, and the batch has 11 items"),
        (B.x[:4], "has 4 rows"),
        (B.pipeline, "is no array, but a"),
    ],
)
def test_a_value_without_a_row_for_each_item_is_refused(value, message):
    with pytest.raises((ArgumentTypeError, ArgumentValueError), match=message):
        DATASET.p.to_arrays(value)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p: p.to_arrays(), "give what to make arrays of"),
        (lambda p: p.to_arrays("x"), "expected expressions"),
        (lambda p: p.to_arrays(B.x, 64), "batch_size= by name"),
        (lambda p: p.to_arrays(B.x, n_epochs=None), "without end"),
        (lambda p: p.to_arrays(B.x, state={}), "rest of its batches"),
        (lambda p: p.to_arrays(B.x, shufle=1), "Did you mean 'shuffle'"),
        (lambda p: p.filter(B.y > 99).to_arrays(B.x), "no batch has come"),
    ],
)
def test_what_makes_no_arrays_is_refused(call, message):
    with pytest.raises((ArgumentTypeError, ArgumentValueError), match=message):
        call(DATASET.p)


def test_memory_is_checked_behind_the_first_batch(monkeypatch):
    monkeypatch.setattr(to_arrays, "free_memory", lambda: 11 * 16 + 11 * 8 + 11 * 16)
    assert len(DATASET.p.to_arrays(B.x, B.y, batch_size=2)[0]) == 11
    monkeypatch.setattr(to_arrays, "free_memory", lambda: 11 * 16 + 11 * 8 + 10 * 16)
    chain = DATASET.p.init_variable("n", 0).update(V("n"), V("n") + 1)
    message = (
        r"11 items take 264 bytes \(B.x 176 bytes, B.y 88 bytes\), 440 bytes while .* 424 bytes"
    )
    with nothing_left(), pytest.raises(ArgumentValueError, match=message):
        chain.to_arrays(B.x, B.y, batch_size=2, prefetch=2)
    assert chain.v("n") == 1


def test_memory_is_checked_while_batches_grow(monkeypatch):
    monkeypatch.setattr(to_arrays, "free_memory", lambda: 2 * 11 * 8 + 64)
    grows = F(lambda y: y.astype("f8") if y[0] == 0 else y.astype("c16"))(B.y)
    with pytest.raises(ArgumentValueError, match="10 items take 144 bytes"):
        DATASET.p.to_arrays(grows, batch_size=2)


def test_the_free_memory_is_known_here():
    assert 2**20 < to_arrays.free_memory() < 2**50


def test_an_error_says_where_and_leaves_nothing():
    with nothing_left(), pytest.raises(LookupError) as caught:
        DATASET.p.fail(2).to_arrays(B.x, batch_size=3, prefetch=2)
    assert any("batch 2" in note for note in caught.value.__notes__)


def test_an_action_of_that_name_wins():
    class Own(Rows):
        @action
        def to_arrays(self, factor):
            self.y = self.y * factor
            return self

    own = Dataset.from_arrays(Own, x=X, y=Y)
    assert own.p.to_arrays(3).next_batch(4).y.tolist() == [0, 3, 6, 9]


def test_scikit_learn_fits_the_arrays():
    linear_model = pytest.importorskip("sklearn.linear_model")
    x, y = DATASET.p.to_arrays(B.x, B.y * 2.0 + 1, shuffle=1)
    assert np.allclose(linear_model.LinearRegression().fit(x, y).predict(X), Y * 2.0 + 1)
