"""The state of a feed: its loops go on where they were left."""

import json

import numpy as np
import pytest

from batchflow import ArrayBatch, B, Dataset, action
from batchflow.errors import ArgumentTypeError, ArgumentValueError


class Rows(ArrayBatch):
    components = "x"

    @action
    def noise(self):
        self.x = self.x + self.rng.normal(size=len(self))
        return self


def feed(**options):
    rows = Dataset.from_arrays(Rows, x=np.arange(23.0))
    return rows.p.noise().rebatch(5).feed(4, B.x, shuffle=True, seed=1, **options)


def loops(feed, n):
    return [[x.tolist() for (x,) in feed] for _ in range(n)]


@pytest.mark.parametrize("ends", [{}, {"n_epochs": 2}])
def test_a_feed_goes_on_inside_a_loop_behind_every_batch(ends):
    whole = loops(feed(**ends), 3)
    for n_loops in range(2):
        for n_batches in range(len(whole[n_loops])):
            first = feed(prefetch=2, **ends)
            loops(first, n_loops)
            loop = iter(first)
            for _ in range(n_batches):
                next(loop)
            state = json.loads(json.dumps(first.state_dict()))
            loop.close()
            again = loops(feed(state=state, **ends), 3 - n_loops)
            assert again == [whole[n_loops][n_batches:], *whole[n_loops + 1 :]]


def test_a_feed_between_its_loops_goes_on_with_the_next():
    first = feed()
    whole = loops(first, 2)
    state = first.state_dict()
    assert state["run"] is None
    later = feed(state=state)
    assert (loops(later, 1), whole) == (loops(first, 1), loops(feed(), 2))


def test_an_epoch_that_is_set_goes_before_the_state():
    first = feed()
    next(iter(first))
    later = feed(state=first.state_dict())
    later.epoch = 1
    assert loops(later, 1) == loops(feed(), 2)[1:]


def test_what_a_feed_cannot_do_is_refused(tmp_path):
    with pytest.raises(ArgumentValueError, match=r"feed\.state_dict\(\)"):
        feed(checkpoint=tmp_path)
    with pytest.raises(ArgumentTypeError, match=r"feed\.state_dict\(\)"):
        feed(state={"step": 1})
