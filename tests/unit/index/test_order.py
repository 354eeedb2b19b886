"""Orders of epochs: in sequence, shuffled, or as a user's function says."""

import threading

import numpy as np
import pytest

from batchflow import ArgumentValueError, Dataset
from batchflow.index.order import make_order

N = 6


def read(order, epoch=0):
    return order.epoch(epoch).part(0, N)


def ids_of(**options):
    return [b.indices.tolist() for b in Dataset(N).gen_batch(N, **options)]


def test_without_a_shuffle_the_items_come_as_slices():
    assert read(make_order(N, None)) == slice(0, N)


def test_a_seed_gives_another_order_in_each_epoch():
    order = make_order(100, 3)
    assert order.epoch(0).part(0, 100).tolist() != order.epoch(1).part(0, 100).tolist()


def test_epochs_can_be_read_in_any_sequence():
    order = make_order(N, 3)
    late = read(order, 5).tolist()
    read(order, 0)
    assert read(order, 5).tolist() == late


# ---- functions


def test_a_function_gets_the_positions():
    seen = []
    ids_of(shuffle=lambda positions: (seen.append(positions.copy()), positions)[1])
    assert seen[0].tolist() == list(range(N))


def test_a_function_sets_the_order():
    assert ids_of(shuffle=lambda positions: positions[::-1]) == [[5, 4, 3, 2, 1, 0]]


def test_a_function_may_return_a_list():
    assert ids_of(shuffle=lambda positions: [1, 0, *range(2, N)]) == [[1, 0, 2, 3, 4, 5]]


def test_a_function_is_called_once_per_epoch():
    calls = []

    def shuffle(positions):
        calls.append(0)
        return np.roll(positions, len(calls))

    orders = ids_of(shuffle=shuffle, n_epochs=3)
    assert (len(calls), [order[0] for order in orders]) == (3, [5, 4, 3])


def test_a_function_is_called_in_the_thread_that_consumes_the_run():
    threads = set()

    def shuffle(positions):
        threads.add(threading.current_thread())
        return positions

    list(Dataset(N).gen_batch(1, shuffle=shuffle, n_epochs=3, prefetch=3))
    assert threads == {threading.current_thread()}


def test_what_the_function_does_later_to_its_array_changes_nothing():
    kept = []

    def shuffle(positions):
        kept.append(positions)
        return positions

    run = Dataset(N).gen_batch(1, shuffle=shuffle)
    next(run)
    kept[0][:] = 0
    assert [b.indices.tolist() for b in run] == [[i] for i in range(1, N)]


@pytest.mark.parametrize(
    ("returned", "complaint"),
    [
        (None, "shape"),
        ([0, 1, 2], r"shape \(3,\)"),
        (np.zeros((N, 1), int), r"shape \(6, 1\)"),
        (np.arange(float(N)), "float64"),
        (np.ones(N, bool), "bool"),
        ([0, 0, 1, 2, 3, 4], r"1 are missing: \[5\]"),
        ([0, 1, 2, 3, 4, 6], r"missing: \[5\]"),
        ([-1, 1, 2, 3, 4, 5], r"missing: \[0\]"),
        ("wrong", "shape"),
    ],
    ids=repr,
)
def test_a_function_that_gives_no_permutation_is_refused(returned, complaint):
    with pytest.raises(ArgumentValueError, match=complaint):
        ids_of(shuffle=lambda positions: returned)


def test_the_refusal_names_the_function_and_the_epoch():
    def my_shuffle(positions):
        my_shuffle.calls += 1
        return positions if my_shuffle.calls == 1 else positions[:1]

    my_shuffle.calls = 0
    with pytest.raises(ArgumentValueError, match=r"my_shuffle.*epoch 1"):
        ids_of(shuffle=my_shuffle, n_epochs=2)


@pytest.mark.parametrize("prefetch", [0, 4])
def test_an_error_of_the_function_comes_after_the_batches_before(prefetch):
    failure = RuntimeError("no order today")

    def shuffle(positions):
        shuffle.calls += 1
        if shuffle.calls == 2:
            raise failure
        return positions

    shuffle.calls = 0
    seen = []
    with pytest.raises(RuntimeError) as caught:
        for batch in Dataset(N).gen_batch(2, shuffle=shuffle, n_epochs=2, prefetch=prefetch):
            seen.append(batch.number)
    assert (caught.value is failure, seen) == (True, [0, 1, 2])


# ---- generators


@pytest.mark.parametrize("make", [np.random.default_rng, np.random.RandomState])
def test_a_generator_gives_one_number_whatever_the_number_of_epochs(make):
    long, short = make(5), make(5)
    ids_of(shuffle=long, n_epochs=3)
    ids_of(shuffle=short, n_epochs=1)
    assert long.normal() == short.normal()


@pytest.mark.parametrize("make", [np.random.default_rng, np.random.RandomState])
def test_equal_generators_give_equal_orders(make):
    one, two = (
        [b.indices.tolist() for b in Dataset(100).gen_batch(50, shuffle=make(5), n_epochs=2)]
        for _ in range(2)
    )
    assert one == two


@pytest.mark.parametrize("make", [np.random.default_rng, np.random.RandomState])
def test_a_generator_gives_another_order_to_the_next_run(make):
    rng = make(5)
    one, two = (next(Dataset(100).gen_batch(50, shuffle=rng)).indices.tolist() for _ in range(2))
    assert one != two


def test_the_global_random_state_is_neither_used_nor_changed():
    before = np.random.get_state()[1].copy()
    ids_of(shuffle=True, n_epochs=2)
    assert np.array_equal(np.random.get_state()[1], before)


# ---- seeds


def test_an_int_shuffle_fixes_the_order():
    assert ids_of(shuffle=42) == ids_of(shuffle=42, seed=5)


def test_shuffle_true_derives_the_order_from_the_seed():
    assert ids_of(shuffle=True, seed=5) == ids_of(shuffle=True, seed=5)


def test_shuffle_true_with_another_seed_gives_another_order():
    one, two = (
        next(Dataset(100).gen_batch(100, shuffle=True, seed=seed)).indices.tolist()
        for seed in (5, 6)
    )
    assert one != two


def test_a_drawn_seed_is_told_and_repeats_the_run():
    run = Dataset(N).gen_batch(2, shuffle=True, n_epochs=2)
    first = [b.indices.tolist() for b in run]
    again = Dataset(N).gen_batch(2, shuffle=True, n_epochs=2, seed=run.seed)
    assert [b.indices.tolist() for b in again] == first


def test_two_runs_without_a_seed_draw_different_ones():
    assert Dataset(N).gen_batch(2).seed != Dataset(N).gen_batch(2).seed


def test_shuffle_zero_is_a_seed():
    assert next(Dataset(100).gen_batch(100, shuffle=0)).indices.tolist() != list(range(100))


def test_the_dataset_keeps_its_order():
    dataset = Dataset(N)
    list(dataset.gen_batch(2, shuffle=1))
    assert dataset.indices.tolist() == list(range(N))
