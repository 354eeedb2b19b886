"""What the tests of the words that put batches together and take them apart share."""

import kit
import pytest

from batchflow import action

each_prefetch = pytest.mark.parametrize("prefetch", [0, 1, 2, 5])


class Rows(kit.Rows):
    @action
    def put(self, value):
        self.x = self.x * 0 + value
        return self

    @action
    def signal(self, what, at):
        if at in self.source_ids:
            raise what
        return self

    @action
    def fail_at(self, at):
        if at in self.source_ids:
            raise ValueError(f"no {at}: {self.x.sum()}")
        return self

    @action
    def remember(self):
        self.memory = self.number
        return self

    @action(singleton=True)
    def count(self):
        self.pipeline.set_variable("n", self.pipeline.v("n") + 1)
        return self


def rows(n_items=10, first=0, cls=Rows):
    return kit.rows(n_items, first, cls)


def flat(parts):
    return [item for part in parts for item in part]


def ids(pipeline, batch_size=4, **options):
    return [batch.indices.tolist() for batch in pipeline.gen_batch(batch_size, **options)]


def xs(pipeline, batch_size=4, **options):
    return [batch.x.tolist() for batch in pipeline.gen_batch(batch_size, **options)]


def facts(pipeline, batch_size=4, **options):
    run = pipeline.gen_batch(batch_size, **options)
    return [(b.number, b.epoch, b.source_numbers, b.indices.tolist(), b.x.tolist()) for b in run]
