"""Batches for the tests of the laws."""

import time

import numpy as np
import pytest

from batchflow import ArrayBatch, Dataset, SkipBatch, StopPipeline, action, model

PREFETCH = (0, 1, 4, 16)


@pytest.fixture(autouse=True)
def _most_interleavings(most_interleavings):
    """Every test here."""


def make_batch_class():
    """A new class, and so a new model, for each test."""

    class Work(ArrayBatch):
        components = "images", "labels"

        @model()
        def momentum():
            return {"weights": np.full(4, 0.5), "velocity": np.zeros(4), "steps": 0}

        @action
        def jitter(self):
            """Take an arbitrary time, which is no part of the answer."""
            time.sleep(np.random.default_rng().random() * 2e-3)
            return self

        @action
        def augment(self, scale=1.0):
            self.images = self.images + scale * self.rng.normal(size=self.images.shape)
            return self

        @action
        def boom(self, at, error=ValueError):
            if self.number == at:
                raise error(f"boom at {at}")
            return self

        @action
        def skip(self, *numbers):
            if self.number in numbers:
                raise SkipBatch
            return self

        @action
        def stop(self, at):
            if self.number == at:
                raise StopPipeline
            return self

        @action(model="momentum", singleton=True)
        def train(self, net, stop_at=None, skip_at=None, boom_at=None):
            if self.number == boom_at:
                raise ValueError(f"boom at {boom_at}")
            if self.number == stop_at:
                raise StopPipeline
            if self.number == skip_at:
                raise SkipBatch
            error = self.images @ net["weights"] - self.labels
            net["velocity"] = 0.9 * net["velocity"] - 0.01 * self.images.T @ error / len(self)
            net["weights"] = net["weights"] + net["velocity"]
            net["steps"] += 1
            self.pipeline.v("history").append(float((error**2).sum()))
            return self

        @action
        def finish(self):
            self.images = self.images * 2 + self.rng.normal()
            return self

    return Work


def make_dataset(n_items=50, batch_class=None):
    rng = np.random.default_rng(0)
    return Dataset.from_arrays(
        batch_class or make_batch_class(),
        images=rng.normal(size=(n_items, 4)),
        labels=rng.normal(size=n_items),
    )


@pytest.fixture
def dataset():
    return make_dataset()


@pytest.fixture
def training(dataset):
    """Augmentation, training in order, and a step behind the section."""
    chain = dataset.p.init_variable("history", init_on_each_run=list)
    return chain.jitter().augment().train().finish()


# ---- ways out of a run


def leave_at_the_end(run):
    list(run)


def leave_by_break(run):
    for _ in run:
        break


def leave_by_close(run):
    next(run)
    run.close()
    run.close()


def leave_to_the_garbage_collector(run):
    next(run)
    cycle = [run]
    cycle.append(cycle)


def leave_before_the_first_batch(run):
    assert run.seed >= 0
