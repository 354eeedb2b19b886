"""Words for loops around epochs."""

from collections import deque

import numpy as np
import pytest
from kit import Rows, rows

from batchflow import action, model
from batchflow.errors import ArgumentTypeError, ArgumentValueError, BatchflowError
from batchflow.loops import EarlyStopping, KeepBest


class Learning(Rows):
    @model()
    def weights():
        return {"w": np.zeros(2), "n": 0}

    @action(model="weights", singleton=True)
    def learn(self, weights):
        weights["w"] += 1
        weights["n"] += 1
        return self


def test_it_stops_when_nothing_has_become_better():
    stopping = EarlyStopping(2, "max", min_delta=0.1)
    scores = [0.1, 0.5, 0.55, 0.7, float("nan"), 0.7]
    assert [stopping.is_over(s) for s in scores] == [False, False, False, False, False, True]
    assert stopping.best == 0.7


def test_its_state_goes_on():
    first, second = EarlyStopping(3), EarlyStopping(3)
    for score in (2.0, 3.0, 3.0):
        first.is_over(score)
    second.set_state(first.get_state())
    assert second.is_over(3.0)


def test_the_best_models_are_kept_and_put_back_into_the_same_objects():
    Learning.models.reset("weights")
    pipeline = rows(4, cls=Learning).p.learn()
    best, weights = KeepBest(pipeline, "weights"), Learning.models["weights"]
    for epoch, score in zip(pipeline.gen_batch(2, n_epochs=4).epochs(), (3, 1, 2, 5), strict=True):
        deque(epoch, maxlen=0)
        best.keep(score)
    best.restore()
    assert Learning.models["weights"] is weights
    assert (best.best, weights["n"], weights["w"].tolist()) == (1.0, 4, [4, 4])
    pipeline.run(2)  # which changes arrays in place
    best.restore()
    assert (weights["n"], weights["w"].tolist()) == (4, [4, 4])


def test_epochs_end_when_nothing_has_become_better_and_the_best_is_put_back():
    Learning.models.reset("weights")
    pipeline = rows(4, cls=Learning).p.learn()
    stopping, best = EarlyStopping(2), KeepBest(pipeline, "weights")
    scores, numbers = iter([3, 2, 2.5, 2.6, 0]), []
    with pipeline.gen_batch(2, n_epochs=None, prefetch=3) as run:
        for epoch in run.epochs():
            deque(epoch, maxlen=0)
            numbers.append(epoch.number)
            score = next(scores)
            best.keep(score)
            if stopping.is_over(score):
                break
    best.restore()
    assert (numbers, Learning.models["weights"]["n"], best.best) == ([0, 1, 2, 3], 4, 2.0)


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: EarlyStopping(0), ArgumentValueError),
        (lambda: EarlyStopping(1.5), ArgumentTypeError),
        (lambda: EarlyStopping(1, "less"), ArgumentValueError),
        (lambda: EarlyStopping(1, min_delta="a"), ArgumentTypeError),
        (lambda: EarlyStopping(1).is_over(None), ArgumentTypeError),
        (lambda: EarlyStopping(1).is_over([1, 2]), ArgumentTypeError),
        (lambda: KeepBest(rows(2).p), ArgumentTypeError),
        (lambda: KeepBest(rows(2).p, "a").restore(), BatchflowError),
    ],
)
def test_wrong_arguments_are_refused(make, error):
    with pytest.raises(error):
        make()
