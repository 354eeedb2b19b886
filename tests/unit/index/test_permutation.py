"""Random orders: bijections, uniform where they are small, without a pattern where they are large.

All seeds are fixed, so nothing here is left to chance. The thresholds are at seven standard
deviations, which a good order never reaches by accident, and the checks themselves are checked: an
affine order (`i * step + start`, the classic cheap shuffle) fails each of them.
"""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchflow.index.order import ShuffledOrder
from batchflow.index.permutation import DRAWN_UP_TO, KeyedPermutation, permutation

SEVEN_SIGMA = 7.0
LARGE = [2**17, 10**6 + 3, 10**9, 4 * 10**9, 10**12]
SAMPLE = 2**16


def key(seed, epoch=0):
    return np.random.SeedSequence(seed, spawn_key=(0, epoch))


def order(n, seed=1, epoch=0):
    return ShuffledOrder(n, seed).epoch(epoch)


def sample(n, seed=1, epoch=0):
    """The first positions of an order, as numbers in [0, 1)."""
    return order(n, seed, epoch).part(0, min(n, SAMPLE)) / n


def affine(n, start=12345):
    """A deliberately bad order."""
    step = int(n * 0.6180339887) | 1
    return (np.arange(SAMPLE, dtype=object) * step + start) % n / n


def deviation(counts):
    """How many standard deviations the chi-square of counts is from that of equal chances."""
    counts = np.asarray(counts, dtype=float)
    expected = counts.sum() / counts.size
    chi_square = ((counts - expected) ** 2 / expected).sum()
    freedom = counts.size - 1
    return abs(chi_square - freedom) / np.sqrt(2 * freedom)


def dependence(one, other):
    """The same for the joint distribution of two rows of numbers in [0, 1)."""
    one, other = one.astype(float), other.astype(float)
    return deviation(np.histogram2d(one, other, bins=16, range=[[0, 1], [0, 1]])[0])


def is_bijection(positions, n):
    seen = np.zeros(n, dtype=bool)
    seen[positions] = True
    return len(positions) == n and bool(seen.all())


# ---- bijections


BORDERS = [1, 2, 3, 4, 5, 255, 256, 257, 2**16 - 1, 2**16, 2**16 + 1, 2**17, 10**6 + 3]


@pytest.mark.parametrize("n", BORDERS)
@pytest.mark.parametrize("seed", [0, 1])
def test_an_order_is_a_bijection(n, seed):
    assert is_bijection(permutation(n, key(seed)).part(0, n), n)


@pytest.mark.parametrize("n", BORDERS)
def test_a_computed_order_is_a_bijection(n):
    assert is_bijection(KeyedPermutation(n, key(3)).part(0, n), n)


@settings(derandomize=True, database=None, deadline=None, max_examples=150)
@given(n=st.integers(1, 5000), seed=st.integers(0, 2**63 - 1))
def test_computed_orders_of_any_size_are_bijections(n, seed):
    assert is_bijection(KeyedPermutation(n, key(seed)).part(0, n), n)


@settings(derandomize=True, database=None, deadline=None, max_examples=60)
@given(
    root=st.one_of(st.integers(2, 1000), st.integers(65530, 65545), st.integers(2**30, 2**31)),
    offset=st.integers(-2, 2),
    start=st.fractions(0, 1),
)
def test_around_squares_positions_are_inside_and_different(root, offset, start):
    n = root * root + offset
    first = int((n - 1) * start)
    stop = min(n, first + 300)
    positions = KeyedPermutation(n, key(1)).part(first, stop)
    assert (positions >= 0).all()
    assert (positions < n).all()
    assert len(np.unique(positions)) == stop - first


@pytest.mark.parametrize("n", [2**16, 2**16 + 1, 10**9])
def test_positions_are_int64(n):
    assert order(n).part(0, 5).dtype == np.int64


# ---- parts


@pytest.mark.parametrize("n", [100, 2**16 + 1, 10**9])
@pytest.mark.parametrize("size", [1, 7, 4096, 5000])
def test_reading_in_parts_gives_what_reading_at_once_gives(n, size):
    stop = min(n, 12_000)
    whole = order(n).part(0, stop)
    reader = order(n)
    parts = [reader.part(i, min(i + size, stop)) for i in range(0, stop, size)]
    assert np.array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize("n", [2**16 + 1, 10**9])
def test_reading_backwards_gives_the_same(n):
    whole = order(n).part(0, 9000)
    reader = order(n)
    parts = [reader.part(i, i + 1000) for i in range(8000, -1, -1000)]
    assert np.array_equal(np.concatenate(parts[::-1]), whole)


def test_the_end_of_a_milliard_is_read_without_the_beginning():
    n = 10**9
    assert order(n).part(n - 3, n).shape == (3,)


def test_parts_that_were_read_are_not_overwritten_by_the_next():
    reader = order(10**6)
    first = reader.part(0, 10)
    kept = first.copy()
    reader.part(5000, 5010)
    assert np.array_equal(first, kept)


def test_an_order_of_a_milliard_needs_little_memory():
    tracemalloc.start()
    try:
        reader = order(10**9)
        for start in range(0, 64 * 200, 64):
            reader.part(start, start + 64)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2_000_000


# ---- a function of (seed, epoch)


@pytest.mark.parametrize("n", [5, 2**16, 2**16 + 1])
def test_the_same_seed_and_epoch_give_the_same_order(n):
    assert np.array_equal(order(n, 4, 2).part(0, n), order(n, 4, 2).part(0, n))


@pytest.mark.parametrize("n", [2**16, 2**16 + 1])
@pytest.mark.parametrize("other", [(5, 0), (4, 1), (0, 4)])
def test_another_seed_or_epoch_gives_another_order(n, other):
    assert not np.array_equal(order(n, 4, 0).part(0, n), order(n, *other).part(0, n))


def test_up_to_its_border_an_order_is_numpys_own():
    n = DRAWN_UP_TO
    numpys = np.random.Generator(np.random.PCG64(key(9))).permutation(n)
    assert np.array_equal(permutation(n, key(9)).part(0, n), numpys)


# ---- small orders are uniform


def _which_of_120(orders):
    places = np.array([120, 24, 6, 2, 1]) // np.array([5, 4, 3, 2, 1])
    ranks = [sum((o[i + 1 :] < o[i]).sum() * places[i] for i in range(5)) for o in orders]
    return np.bincount(ranks, minlength=120)


def test_orders_of_five_items_are_uniform_over_seeds():
    orders = [order(5, seed).part(0, 5) for seed in range(12_000)]
    assert deviation(_which_of_120(orders)) < 4


def test_orders_of_five_items_are_uniform_over_epochs():
    orders = [order(5, 1, epoch).part(0, 5) for epoch in range(12_000)]
    assert deviation(_which_of_120(orders)) < 4


def test_the_check_of_five_items_notices_a_swap_shuffle():
    """The classic mistake, exchanging each item with any other, makes some orders likelier."""
    rng = np.random.default_rng(1)
    orders = np.tile(np.arange(5), (12_000, 1))
    for o in orders:
        for i in range(5):
            j = rng.integers(5)
            o[i], o[j] = o[j], o[i]
    assert deviation(_which_of_120(orders)) > SEVEN_SIGMA


@pytest.mark.parametrize("n", [2, 3, 7])
def test_computed_orders_of_few_items_put_each_item_anywhere(n):
    places = np.array([KeyedPermutation(n, key(seed)).part(0, n) for seed in range(4000)])
    worst = max(deviation(np.bincount(column, minlength=n)) for column in places.T)
    assert worst < SEVEN_SIGMA


# ---- large orders have no pattern


@pytest.mark.parametrize("n", LARGE)
def test_large_orders_do_not_follow_the_position(n):
    places = np.arange(min(n, SAMPLE)) / min(n, SAMPLE)
    assert dependence(places, sample(n)) < SEVEN_SIGMA


@pytest.mark.parametrize("n", LARGE)
@pytest.mark.parametrize("lag", [1, 2, 32, 257])
def test_large_orders_do_not_tie_neighbours_together(n, lag):
    numbers = sample(n)
    assert dependence(numbers[:-lag], numbers[lag:]) < SEVEN_SIGMA


@pytest.mark.parametrize("n", LARGE)
def test_steps_between_neighbours_are_uniform(n):
    steps = np.diff(sample(n)) % 1.0
    assert deviation(np.histogram(steps, bins=256, range=(0, 1))[0]) < SEVEN_SIGMA


@pytest.mark.parametrize("n", LARGE)
@pytest.mark.parametrize("seed", [2, 3, 1 + 2**32])
def test_large_orders_of_two_seeds_are_independent(n, seed):
    assert dependence(sample(n, 1), sample(n, seed)) < SEVEN_SIGMA


@pytest.mark.parametrize("n", LARGE)
@pytest.mark.parametrize("epoch", [1, 2, 100])
def test_large_orders_of_two_epochs_are_independent(n, epoch):
    assert dependence(sample(n, 1, 0), sample(n, 1, epoch)) < SEVEN_SIGMA


@pytest.mark.parametrize("n", LARGE)
def test_large_orders_mix_the_lowest_bits(n):
    bits = order(n).part(0, min(n, SAMPLE)) % 4
    assert deviation(np.bincount(bits[:-1] * 4 + bits[1:], minlength=16)) < SEVEN_SIGMA


@pytest.mark.parametrize("n", [2**17, 10**9, 4 * 10**9])
def test_over_seeds_a_place_of_a_large_order_holds_any_position(n):
    held = [order(n, seed).part(77, 78)[0] / n for seed in range(6000)]
    assert deviation(np.histogram(held, bins=64, range=(0, 1))[0]) < SEVEN_SIGMA


@pytest.mark.parametrize("n", [2**17, 10**6 + 3])
def test_a_large_order_has_about_one_fixed_point(n):
    fixed = sum(
        int((KeyedPermutation(n, key(seed)).part(0, n) == np.arange(n)).sum()) for seed in range(8)
    )
    assert fixed < 30


@pytest.mark.parametrize(
    "check",
    [
        lambda bad: dependence(np.arange(SAMPLE) / SAMPLE, bad),
        lambda bad: dependence(bad[:-1], bad[1:]),
        lambda bad: deviation(np.histogram((np.diff(bad) % 1).astype(float), 256, (0, 1))[0]),
        lambda bad: dependence(bad, affine(10**9, start=10**8)),
    ],
    ids=["position", "neighbours", "steps", "seeds"],
)
def test_the_checks_notice_an_affine_order(check):
    assert check(affine(10**9)) > SEVEN_SIGMA
