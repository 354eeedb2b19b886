"""Whatever is chained, and made in worker processes: the same as in one thread, batch by batch.

The pipelines are those of `test_any_pipeline_has_one_answer`, which says what they are made of.
Others keep in their batches what has to find its way back: arrays of many layouts, objects that
share them, generators, slots.
"""

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from property.test_any_pipeline_has_one_answer import (
    any_case,
    any_regrouping_case,
    lasting,
    options,
    story,
)

from batchflow import ArrayBatch, B, Dataset, P, Pipeline, R, V, action
from batchflow.testing import digest, nothing_left

_STAYS = "cannot travel to other processes"  # a parallel step on a model: refused before a batch


def far(parallelism):
    return {"executor": "processes", "n_workers": 2, "prefetch": parallelism["prefetch"]}


def told_without_place(told):
    """What a run shows, without the note that has the traceback of the worker."""
    if isinstance(told, str):
        return told
    parts = []
    for part in told:
        if isinstance(part, tuple) and len(part) == 2 and isinstance(part[0], str):
            text, notes = part
            part = text, [n for n in notes or () if not n.startswith("in a worker process:")]
        parts.append(part)
    return parts


def check(chain, n_items, batch_size, leave_after, run_options, parallelism):
    args = (chain, n_items, min(batch_size, n_items), leave_after)
    if run_options["drop_last"] and n_items < batch_size:
        run_options = {**run_options, "drop_last": False}
    with np.errstate(all="ignore"):
        expected = told_without_place(story(*args, executor="serial", **run_options))
        got = told_without_place(story(*args, **far(parallelism), **run_options))
    if any(_STAYS in str(part) for part in got):
        reject()
    assert got == expected


@any_case
@settings(lasting, max_examples=60)
def test_any_pipeline_has_one_answer_in_processes(**case):
    check(**case)


@any_regrouping_case
@settings(lasting, max_examples=60)
def test_any_pipeline_that_regroups_has_one_answer_in_processes(**case):
    check(**case)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@any_case
@settings(lasting, max_examples=2_000)
def test_thousands_of_pipelines_have_one_answer_in_processes(**case):
    check(**case)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@any_regrouping_case
@settings(lasting, max_examples=2_000)
def test_thousands_of_pipelines_that_regroup_have_one_answer_in_processes(**case):
    check(**case)


# ---- what a batch may hold


class Memo:
    """Something of the user's, with an array in it."""

    def __init__(self, rows):
        self.rows, self.others = rows, {"same": rows}

    def total(self):
        return float(self.rows.sum()) + (self.others["same"] is self.rows)


class Laden(ArrayBatch):
    components = "x", "y"
    __slots__ = ("held",)

    @action
    def turn(self):
        self.x = self.x.transpose(0, 2, 1)
        return self

    @action
    def cut(self):
        self.x = self.x[:, 1:, ::-2]
        return self

    @action
    def as_float32(self):
        self.x = np.asfortranarray(self.x, dtype=np.float32)
        return self

    @action
    def share(self):
        self.y = self.x
        return self

    @action
    def as_list(self):
        self.y = [row[: 1 + self.number % 3] for row in self.x]
        return self

    @action
    def memo(self):
        self.kept = Memo(self.x)
        return self

    @action
    def slot(self):
        self.held = (self.rng.normal(size=3), self.number)
        return self

    @action
    def own_generator(self):
        self.stream = np.random.default_rng(self.number)
        self.stream.normal(size=2)
        return self

    @action
    def masked(self):
        self.y = np.ma.masked_less(self.x, 0)
        return self

    @action
    def add_noise(self):
        self.x = self.x + self.rng.normal(size=self.x.shape)
        return self

    @action
    async def later(self):
        self.x = self.x + 1
        return self

    @action
    def add_joined(self, other):
        self.x = self.x + other.x.mean()
        return self

    @action(singleton=True)
    def tell(self):
        """Write down, in the section, what has come there."""
        x = self.x
        facts = [str(x.dtype), x.sum().tobytes(), x.mean(axis=0).sum().tobytes()]
        facts += [self.y is x, digest(np.asarray(self.y[0])), self.rng.normal()]
        if hasattr(self, "kept"):
            facts += [type(self.kept) is Memo, self.kept.total(), self.kept.rows is x]
        if hasattr(self, "held"):
            facts += [digest(*self.held)]
        if hasattr(self, "stream"):
            facts += [self.stream.normal()]
        self.pipeline.v("told").append((self.number, self.epoch, *facts))
        self.x += 1  # it may be written to
        return self


laden_steps = st.one_of(
    st.sampled_from(
        [
            *("turn", "cut", "as_float32", "share", "as_list", "memo", "slot"),
            *("own_generator", "masked", "add_noise", "later"),
        ]
    ).map(lambda name: getattr(Pipeline(), name)()),
    st.sampled_from(
        [
            Pipeline().apply_parallel(np.add, P(R.normal(0, 1)), src="x", n_workers=2),
            Pipeline().map(np.negative, src="x"),
            Pipeline().filter(B.x[:, 0, 0] > -1),
            Pipeline().call(np.asarray, B.x, save_to=B.extra).update(B.x, B.extra * V("factor")),
            Pipeline().add_noise() @ 0.5,
        ]
    ),
    st.builds(
        lambda name: Pipeline().join(getattr(laden_dataset().p, name)()).add_joined(),
        st.sampled_from(["add_noise", "turn", "later"]),
    ),
)
laden_case = given(
    chain=st.lists(laden_steps, max_size=6).map(lambda parts: sum(parts, Pipeline())),
    run_options=options,
    prefetch=st.sampled_from([1, 2, 5]),
)


def laden_dataset():
    rng = np.random.default_rng(0)
    return Dataset.from_arrays(Laden, x=rng.normal(size=(24, 5, 7)), y=rng.normal(size=24))


def laden_story(chain, **run_options):
    p = laden_dataset().p.init_variable("told", init=list).init_variable("factor", 0.5)
    p = p + chain + Pipeline().tell()
    told = []
    try:
        for batch in p.gen_batch(4, **run_options):
            told.append((batch.number, digest(np.ascontiguousarray(batch.x))))
    except (ValueError, TypeError, IndexError) as error:
        told.append((type(error), str(error)))
    return told, p.v("told")


def check_laden(chain, run_options, prefetch):
    expected = laden_story(chain, executor="serial", **run_options)
    got = laden_story(chain, executor="processes", n_workers=2, prefetch=prefetch, **run_options)
    assert got == expected


@laden_case
@settings(lasting, max_examples=60)
def test_what_a_batch_holds_comes_back_as_it_was(**case):
    check_laden(**case)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@laden_case
@settings(lasting, max_examples=2_000)
def test_what_thousands_of_batches_hold_comes_back_as_it_was(**case):
    check_laden(**case)


def test_no_pipeline_leaves_anything_of_its_worker_processes():
    with nothing_left():
        any_regrouping_case(settings(lasting, max_examples=15)(lambda **case: check(**case)))()
