"""The state behind every batch, in a pipeline of its own: what comes is what would have come."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from own_process import run_alone

from batchflow import (
    ArrayBatch,
    B,
    Balanced,
    Bucketed,
    Dataset,
    Shuffle,
    SkipBatch,
    Weighted,
    action,
)
from batchflow.errors import ArgumentValueError, BatchflowError

N = 23


class Rows(ArrayBatch):
    components = "x", "y"

    @action
    def draw(self):
        self.x = self.x + self.rng.integers(0, 1000)
        return self

    @action
    def skip_some(self):
        if int(self.x.sum()) % 3 == 0:
            raise SkipBatch
        return self

    @action
    def add(self, other):
        self.x = self.x + other.x * 1000
        return self

    @action(expands=2)
    def twice(self):
        twin = Rows(np.arange(2 * len(self)))
        twin.x, twin.y = np.repeat(self.x, 2), np.repeat(self.y, 2)
        return twin

    @action(singleton=True)
    def note(self, name="v"):
        known = self.pipeline.v(name)
        self.pipeline.set_variable(name, known * 31 % 1000003 + int(self.x.sum()) + self.number)
        return self

    @action(singleton=True)
    def skip_every(self, n):
        count = self.pipeline.v("n") + 1
        self.pipeline.set_variable("n", count)
        if count % n == 0:
            raise SkipBatch
        return self


def dataset(n=N, base=0):
    return Dataset.from_arrays(Rows, x=np.arange(n) * 3 + base, y=np.arange(n) + base)


def other(n=17):
    return dataset(n, 500).p.draw().run_later(shuffle=5)


CHAINS = {
    "plain": lambda p: p.draw().note(),
    "skip": lambda p: p.draw().skip_some().note(),
    "skip in order": lambda p: p.draw().skip_every(3).note(),
    "filter": lambda p: p.draw().filter(B.x % 3 > 0).note(),
    "join": lambda p: p.draw().join(dataset(base=900).p.draw()).add().note(),
    "twice": lambda p: p.draw().twice().rebatch(5).draw().note(),
    "rebatch": lambda p: p.draw().filter(B.x % 3 > 0).rebatch(5).draw().skip_some().note(),
    "rebatch, no rest": lambda p: p.draw().rebatch(5, drop_last=True).draw().note(),
    "twice rebatched": lambda p: p.draw().rebatch(5).draw().rebatch(3).skip_every(4).note(),
    "mix": lambda p: p.draw().mix_rows(3).draw().rebatch(5).note(),
    "merge": lambda p: p.draw().merge(other()).draw().rebatch(3).draw().note(),
    "merge of fewer": lambda p: p.draw().merge(other().filter(B.x % 3 > 0)).draw().note(),
    "merge behind a skip": lambda p: p.draw().skip_some().merge(other()).draw().note(),
    "merge far behind one": lambda p: p.draw().rebatch(3).skip_some().merge(other()).note(),
    "merge of rebatched": lambda p: p.draw().merge(other().rebatch(3)).draw().note(),
    "concat": lambda p: p.draw().rebatch(5).concat(other().rebatch(3)).draw().note(),
}
ORDERS = {
    "none": lambda: False,
    "seeded": lambda: True,
    "blocks": lambda: Shuffle(5, 2),
    "weighted": lambda: Weighted(np.arange(1.0, N + 1)),
    "balanced": lambda: Balanced(np.arange(N) % 3),
    "bucketed": lambda: Bucketed(np.arange(N) % 7),
    "function": lambda: lambda positions: positions[::-1],
    "function with a generator": lambda: lambda positions, rng: rng.permutation(positions),
    "function with a state": lambda: np.random.default_rng(5).permutation,
}
ENDS = ({"n_epochs": 3}, {"n_iters": 13}, {"n_epochs": 2, "drop_last": True})


def facts(batch, pipeline):
    drawn = int(batch.rng.integers(1 << 40))
    values = batch.x.tolist(), batch.y.tolist(), batch.source_ids.tolist()
    return batch.number, batch.epoch, values, drawn, pipeline.v("v"), pipeline.v("n")


def made(chain):
    return chain(dataset().p.init_variable("v", 0).init_variable("n", 0))


def run_and_states(chain, options):
    """Return what comes, the variables at the end, and the states with those then."""
    pipeline, came, states = made(chain), [], []

    def note(run):
        try:
            text = json.dumps(run.state_dict())
        except BatchflowError:
            text = None
        else:
            assert len(text) < 1024
        states.append((len(came), text, pipeline.v("v"), pipeline.v("n")))

    with pipeline.gen_batch(4, **options) as run:
        note(run)
        for batch in run:
            came.append(facts(batch, pipeline))
            note(run)
        note(run)
    return came, (pipeline.v("v"), pipeline.v("n")), states


def check(chain, options, parallelism=None):
    """Go on from each state; return how many could be gone on from."""
    orders = options.pop("order")
    came, end, states = run_and_states(chain, {**options, "shuffle": orders()})
    n_states = 0
    for count, text, v, n in states:
        if text is None:
            continue
        pipeline = made(chain)
        pipeline.set_variable("v", v)
        pipeline.set_variable("n", n)
        own = {**options, **(parallelism or {}), "shuffle": orders(), "state": json.loads(text)}
        with pipeline.gen_batch(4, **own) as run:
            assert [facts(batch, pipeline) for batch in run] == came[count:]
        assert (pipeline.v("v"), pipeline.v("n")) == end
        n_states += 1
    return n_states, len(states)


@pytest.mark.parametrize("chain", CHAINS)
def test_every_state_gives_the_tail_of_every_chain(chain):
    rng = np.random.default_rng(len(chain))
    for name in ("none", "function with a state", rng.choice(["seeded", "blocks", "bucketed"])):
        options = {"order": ORDERS[name], "seed": 11, **ENDS[rng.integers(len(ENDS))]}
        ahead, later = rng.choice([0, 2, 5], 2).tolist()
        n_states, of = check(CHAINS[chain], {**options, "prefetch": ahead}, {"prefetch": later})
        assert n_states == of


@pytest.mark.parametrize("order", ORDERS)
def test_every_state_gives_the_tail_of_every_order(order):
    for ends in ENDS:
        options = {"order": ORDERS[order], "seed": 3, "prefetch": 3, **ends}
        n_states, of = check(CHAINS["rebatch"], options, {"prefetch": 0})
        assert n_states == of


def check_in_this_process(file):
    """Go on from the states in a file, which another process has written."""
    with open(file) as stream:
        cases = json.load(stream)
    n_states = 0
    for chain, order, options, came, end, states in cases:
        for count, text, v, n in states:
            pipeline = made(CHAINS[chain])
            pipeline.set_variable("v", v)
            pipeline.set_variable("n", n)
            own = {**options, "shuffle": ORDERS[order](), "state": json.loads(text)}
            with pipeline.gen_batch(4, **own) as run:
                rest = [facts(batch, pipeline) for batch in run]
            assert json.loads(json.dumps(rest)) == came[count:], (chain, order, count)
            assert [pipeline.v("v"), pipeline.v("n")] == end, (chain, order, count)
            n_states += 1
    sys.stdout.write(f"{n_states} states")


def test_states_give_the_tail_in_a_new_process(tmp_path):
    cases = []
    for place, chain in enumerate(CHAINS):
        order = [*ORDERS][place % len(ORDERS)]
        options = {"seed": 7, **ENDS[place % len(ENDS)]}
        came, end, states = run_and_states(CHAINS[chain], {**options, "shuffle": ORDERS[order]()})
        parallelism = {"prefetch": 2 * (place % 3)}
        if place % 5 == 4:
            parallelism = {"executor": "processes", "n_workers": 1}
        cases.append(
            [chain, order, {**options, **parallelism}, came, end, states[:: 4 + place % 3]]
        )
    file = tmp_path / "states.json"
    file.write_text(json.dumps(cases))
    here = Path(__file__)
    folders = [str(here.parent), str(here.parents[1])]
    program = f"import sys; sys.path[:0] = {folders}; import {here.stem} as it; "
    program += f"it.check_in_this_process({str(file)!r})"
    assert run_alone(program, env={"PYTHONHASHSEED": "7"}).stdout == (
        f"{sum(len(case[-1]) for case in cases)} states"
    )


def test_states_of_threads_are_gone_on_from_in_processes():
    options = {"order": ORDERS["seeded"], "seed": 3, "n_epochs": 1, "prefetch": 2}
    processes = {"executor": "processes", "n_workers": 2}
    assert check(CHAINS["mix"], options, processes)[0]


LATE = {
    "rebatch": lambda p: p.draw().note().rebatch(5).draw(),
    "rebatch, last skipped": lambda p: p.draw().skip_every(3).note().rebatch(5).draw(),
    "merge": lambda p: p.draw().note().merge(other(23)).draw(),
    "concat": lambda p: p.draw().note().concat(other()).draw(),
}


@pytest.mark.parametrize("chain", LATE)
def test_rows_behind_ordered_steps_are_states_at_borders_alone(chain):
    options = {"order": ORDERS["seeded"], "seed": 3, "n_epochs": 3, "prefetch": 2}
    n_states, of = check(LATE[chain], options)
    assert 2 <= n_states < of


def test_a_merge_behind_ordered_skips_is_no_state_in_a_later_epoch():
    chain = lambda p: p.draw().skip_every(5).note().merge(other(23)).draw()  # noqa: E731
    options = {"order": ORDERS["seeded"], "seed": 3, "n_epochs": 3}
    assert check(chain, options)[0] == 2  # before the first batch, and behind the last


def test_taking_a_state_changes_no_order_that_keeps_a_state():
    def ids(*, looks):
        run = dataset().p.gen_batch(
            4, shuffle=np.random.default_rng(5).permutation, n_epochs=4, prefetch=8
        )
        found = []
        for batch in run:
            found.append(batch.indices.tolist())
            if looks:
                run.state_dict()
        return found

    assert ids(looks=True) == ids(looks=False)


@pytest.mark.parametrize(
    "shuffle",
    [
        lambda seed: np.random.default_rng(seed).permutation,
        lambda seed: lambda p, rng: np.roll(rng.permutation(p), seed),
    ],
)
def test_a_function_that_orders_otherwise_is_refused(shuffle):
    run = dataset().p.gen_batch(4, shuffle=shuffle(1), seed=1)
    next(run)
    state = run.state_dict()
    with pytest.raises(ArgumentValueError, match="another order in epoch 0"):
        next(dataset().p.gen_batch(4, shuffle=shuffle(2), seed=1, state=state))
    assert next(dataset().p.gen_batch(4, shuffle=shuffle(2), seed=1, state=state, changed="allow"))


def test_a_run_that_ended_inside_an_epoch_goes_on_where_nothing_was_left_over():
    run = dataset().p.draw().gen_batch(4, seed=1, n_iters=8)
    assert len(list(run)) == 8
    whole = [b.x.tolist() for b in dataset().p.draw().gen_batch(4, seed=1, n_iters=20)]
    rest = dataset().p.draw().gen_batch(4, seed=1, n_iters=20, state=run.state_dict())
    assert [b.x.tolist() for b in rest] == whole[8:]


def test_a_run_whose_last_rows_came_as_a_short_batch_is_not_made_longer():
    chain = lambda: dataset().p.draw().rebatch(5)  # noqa: E731
    run = chain().gen_batch(4, seed=1, n_iters=8)
    list(run)
    state = run.state_dict()
    assert list(chain().gen_batch(4, seed=1, n_iters=8, state=state)) == []
    with pytest.raises(ArgumentValueError, match="ended behind 8 source batches"):
        chain().gen_batch(4, seed=1, n_iters=9, state=state)


def test_a_run_that_regroups_is_made_longer_at_the_border_of_an_epoch():
    chain = lambda: dataset().p.draw().skip_some().rebatch(5)  # noqa: E731
    run = chain().gen_batch(4, seed=1, n_epochs=2)
    n_batches = len(list(run))
    whole = [b.x.tolist() for b in chain().gen_batch(4, seed=1, n_epochs=4)]
    longer = chain().gen_batch(4, seed=1, n_epochs=4, state=run.state_dict())
    assert [b.x.tolist() for b in longer] == whole[n_batches:]
