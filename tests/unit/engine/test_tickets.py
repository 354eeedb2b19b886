"""The source batches of a run, named in a row and one by one."""

import numpy as np
import pytest

from batchflow.engine.source import Schedule
from batchflow.index.order import SequentialOrder, ShuffledOrder
from batchflow.index.permutation import DRAWN_UP_TO

N_ITEMS = 2500


def named(schedule, tickets):
    items = np.arange(schedule.n_items)
    return [(number, epoch, items[positions].tolist()) for number, epoch, positions in tickets]


@pytest.mark.parametrize("order", [SequentialOrder(), ShuffledOrder(N_ITEMS, 7)])
@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("size", [13, 500, 1023, 1024, 1025, 2499, 2500])
def test_batches_in_a_row_are_those_named_one_by_one(size, drop_last, order):
    schedule = Schedule(N_ITEMS, size, order, drop_last)
    end = 2 * schedule.batches_per_epoch - 1
    first = end // 3
    schedule = schedule._replace(first=first, end=end)
    one_by_one = map(schedule.ticket, range(first, end))
    assert named(schedule, schedule.tickets()) == named(schedule, one_by_one)


def test_a_computed_order_is_the_same_read_in_parts_of_any_length():
    n_items = DRAWN_UP_TO + 1000
    schedule = Schedule(n_items, 300, ShuffledOrder(n_items, 7), False, end=219)
    read = np.concatenate([positions for _, _, positions in schedule.tickets()])
    assert np.array_equal(read, ShuffledOrder(n_items, 7).epoch(0).part(0, 219 * 300))


def test_large_batches_are_read_one_by_one():
    read = []

    class Order(SequentialOrder):
        def part(self, start, stop):
            read.append((start, stop))
            return slice(start, stop)

    next(Schedule(10**9, 10**6, Order(), False).tickets())
    assert read == [(0, 10**6)]
