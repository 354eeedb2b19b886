"""Chains, made anew for each run, whose every result can be compared.

The classes are made in functions, as in a notebook, so that a run has models of its own.
"""

import asyncio
import time
from pathlib import Path

import numpy as np

from batchflow import (
    ArrayBatch,
    B,
    Dataset,
    F,
    Pipeline,
    R,
    SkipBatch,
    StopPipeline,
    V,
    action,
    model,
)
from batchflow.batch import apply_parallel
from batchflow.testing import digest

N_ITEMS = 36
BATCH = 4
DEADLINE = 60


def make_class():
    """A new class, and so a new model."""

    class Work(ArrayBatch):
        components = "x", "y"

        @model()
        def momentum():
            return {"weights": np.full(3, 0.5), "velocity": np.zeros(3), "steps": 0}

        @action
        def jitter(self):
            """Take an arbitrary time, which is no part of the answer."""
            time.sleep(np.random.default_rng().random() * 3e-3)
            return self

        @action
        def augment(self, scale=1.0):
            self.x = self.x + scale * self.rng.normal(size=self.x.shape)
            return self

        @action
        def tell(self, folder):
            """Leave a file, which all processes see."""
            (Path(folder) / f"begun-{self.number}").touch()
            return self

        @action
        def wait_for(self, path):
            end = time.monotonic() + DEADLINE
            while not Path(path).exists() and time.monotonic() < end:
                time.sleep(0.005)
            return self

        @action
        def at(self, numbers, what):
            """Raise something."""
            if self.number in np.atleast_1d(numbers):
                raise what() if isinstance(what, type) else what
            return self

        @action
        def call_at(self, number, function):
            if self.number == number:
                function(self)
            return self

        @action
        def add(self, other):
            self.x = self.x + other.x
            return self

        @apply_parallel(src="x")
        def item_noise(self, item):
            return item + self.rng.normal()

        @action
        async def slowly(self):
            await asyncio.sleep(0.001)
            self.x = self.x * 2
            return self

        @action(model="momentum", singleton=True)
        def train(self, net):
            error = self.x @ net["weights"] - self.y
            net["velocity"] = 0.9 * net["velocity"] - 0.01 * self.x.T @ error / len(self)
            net["weights"] = net["weights"] + net["velocity"]
            net["steps"] += 1
            self.pipeline.v("history").append(float((error**2).sum()))
            return self

        @action(singleton=True)
        def in_order_at(self, number, what):
            self.pipeline.v("history").append(self.number)
            if self.number == number:
                raise what()
            return self

    return Work


def make_dataset(n_items=N_ITEMS, batch_class=None, first=0):
    rng = np.random.default_rng(first)
    ids = np.arange(first, first + n_items)
    x, y = rng.normal(size=(n_items, 3)), rng.normal(size=n_items)
    return Dataset.from_arrays(batch_class or make_class(), ids, x=x, y=y)


def with_history(pipeline):
    return pipeline.init_variable("history", init_on_each_run=list)


# ---- the chains: each gives a pipeline, and all pipelines in it that keep a history


def augmentation():
    pipeline = make_dataset().p.jitter().augment().augment(0.5)
    return pipeline, []


def training():
    pipeline = with_history(make_dataset().p.jitter().augment()).train().augment()
    return pipeline, [pipeline]


def rebatching():
    chain = with_history(make_dataset().p.augment().rebatch(7).jitter().augment())
    pipeline = chain.train().rebatch(5).augment()
    return pipeline, [pipeline]


def merging():
    inner = make_dataset(20, first=100).p.jitter().augment().rebatch(2).augment()
    pipeline = with_history(make_dataset().p.augment().merge(inner).jitter().augment()).train()
    return pipeline, [pipeline]


def merging_ordered():
    inner = with_history(make_dataset(20, first=100).p.augment()).train().augment()
    pipeline = with_history(make_dataset().p.augment().merge(inner).augment()).train()
    return pipeline, [pipeline, inner]


def joining():
    inner = make_dataset().p.jitter().augment()
    pipeline = with_history(make_dataset().p.augment().join(inner).add().jitter()).train()
    return pipeline, [pipeline]


def joining_ordered():
    inner = with_history(make_dataset().p.augment()).train()
    pipeline = with_history(make_dataset().p.augment().join(inner).add()).train()
    return pipeline, [pipeline, inner]


def concatenating():
    work = make_class()
    inner = make_dataset(10, work, first=100).p.jitter().augment()
    pipeline = with_history(
        make_dataset(batch_class=work).p.augment().concat(inner).augment()
    ).train()
    return pipeline, [pipeline]


def per_item():
    pipeline = make_dataset().p.item_noise().item_noise(target="for")
    return pipeline.apply_parallel(lambda item, k: item * k, R.integers(2, 5), src="x"), []


def coroutines():
    async def shift(array, by):
        await asyncio.sleep(0.001)
        return array + by

    return make_dataset().p.augment().slowly().call(shift, B.x, R.normal(), save_to=B.x), []


def chances():
    work = make_dataset()
    often, rarely = Pipeline().augment() @ 0.7, Pipeline().augment(10.0) @ 0.2
    return work >> often + rarely * 3, []


def filters():
    pipeline = with_history(make_dataset().p.augment().filter(B.x[:, 0] > 0))
    return pipeline.train().rebatch(3), [pipeline]


def saving():
    pipeline = (
        make_dataset()
        .p.init_variable("history", init_on_each_run=list)
        .init_variable("scale", 0.5)
        .init_variable("total", init_on_each_run=float)
        .augment(V("scale"))
        .call(lambda x, shift: (x + shift, x.sum()), B.x, R.normal(), save_to=[B.x, B.sum])
        .update(V("total"), V("total") + B.sum)
        .call(float, B.sum, save_to=V("history", "a"))
        .update(B.seen, F(tuple)(V("history")))
    )
    return pipeline, [pipeline]


def skipping():
    pipeline = with_history(make_dataset().p.augment().at([1, 2, 5], SkipBatch))
    return pipeline.in_order_at(4, SkipBatch).train(), [pipeline]


def stopping():
    pipeline = with_history(make_dataset().p.jitter().augment().at(6, StopPipeline)).train()
    return pipeline, [pipeline]


CHAINS = [
    augmentation,
    training,
    rebatching,
    merging,
    merging_ordered,
    joining,
    joining_ordered,
    concatenating,
    per_item,
    coroutines,
    chances,
    filters,
    saving,
    skipping,
    stopping,
]


def told(pipeline, keepers=(), **options):
    """All that a run shows: its batches, variables and models."""
    options = {"seed": 5, **options}
    with pipeline.gen_batch(BATCH, **options) as run:
        batches = [shown(batch) for batch in run]
    return batches, [owned(keeper) for keeper in keepers]


def shown(batch):
    """All of a batch."""
    extra = {name: getattr(batch, name, None) for name in ("sum", "seen")}
    facts = batch.number, batch.epoch, batch.source_numbers, extra, batch.rng.random()
    return facts, digest(batch.indices, batch.source_ids, batch.x, batch.y)


def owned(pipeline):
    """The variables and models of a pipeline."""
    net = pipeline.m("momentum")
    return list(pipeline.v("history")), {name: digest(value) for name, value in net.items()}
