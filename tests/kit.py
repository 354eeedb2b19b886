"""What tests of several folders share: plain batch classes, and words for what a test says."""

from contextlib import nullcontext

import numpy as np

from batchflow import ArrayBatch, Batch, Dataset, action


class Rows(ArrayBatch):
    """Two arrays, and the actions that most tests chain. Tests that need others subclass it."""

    components = "x", "y"

    @action
    def noise(self):
        self.x = self.x + self.rng.normal(size=self.x.shape)
        return self

    @action
    def scale(self, factor=1):
        self.x = self.x * factor
        return self

    @action
    def add(self, other, factor=1):
        self.x = self.x + factor * other.x
        return self


class Loose(Batch):
    """Two components that may be anything."""

    components = "x", "y"


class Pair(ArrayBatch):
    """Two arrays, by the names that most users give them."""

    components = "images", "labels"


def rows(n_items=10, first=0, cls=Rows):
    """Return a dataset whose `x` are its ids."""
    ids = np.arange(first, first + n_items)
    return Dataset.from_arrays(cls, ids, x=ids.astype(float), y=np.arange(n_items))


def does_not_raise():
    """Say that a test is about nothing else: the code inside raises nothing."""
    return nullcontext()
