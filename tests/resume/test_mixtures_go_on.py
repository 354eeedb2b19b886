"""A run over a mixture that is saved behind any batch goes on to the same bits."""

import json

import numpy as np
import pytest

from batchflow import ArrayBatch, Dataset, Shuffle, action
from batchflow.errors import BatchflowError


class Rows(ArrayBatch):
    components = "x", "of"

    @action
    def noise(self):
        self.x = self.x + self.rng.normal(size=len(self))
        return self


def mixed(*weights, sizes=(23, 9)):
    parts = [
        Dataset.from_arrays(Rows, x=np.arange(float(n)), of=np.full(n, of))
        for of, n in enumerate(sizes)
    ]
    return Dataset.mix(parts, weights, stop="longest").p.noise()


OPTIONS = {"batch_size": 4, "n_epochs": 2, "seed": 1}


@pytest.mark.parametrize("shuffle", [False, True, Shuffle(block=3, window=2)])
def test_a_mixture_goes_on_behind_every_batch(shuffle):
    whole = [b.x.tolist() for b in mixed(2, 1).gen_batch(shuffle=shuffle, **OPTIONS)]
    for number in range(1, len(whole), 3):
        with mixed(2, 1).gen_batch(shuffle=shuffle, prefetch=2, **OPTIONS) as run:
            for _ in range(number):
                next(run)
            state = json.loads(json.dumps(run.state_dict()))
        again = mixed(2, 1).gen_batch(shuffle=shuffle, state=state, **OPTIONS)
        assert [b.x.tolist() for b in again] == whole[number:]


@pytest.mark.parametrize("other", [mixed(3, 1), mixed(2, 1, sizes=(23, 8))])
def test_another_mixture_is_refused(other):
    with mixed(2, 1).gen_batch(shuffle=True, **OPTIONS) as run:
        next(run)
        state = run.state_dict()
    with pytest.raises(BatchflowError, match=r"weights was|the ids of the dataset"):
        list(other.gen_batch(shuffle=True, state=state, **OPTIONS))
