"""A run that begins at epoch k, or goes through its epochs one by one, gives those of one long run.

Order, numbers, random draws and source batches are compared, bit for bit.
"""

import kit
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchflow import (
    ArgumentValueError,
    B,
    BatchflowError,
    Dataset,
    R,
    RunClosedError,
    SkipBatch,
    StopPipeline,
    V,
    action,
    model,
)
from batchflow.testing import nothing_left

PARALLEL = {
    "in turn": {},
    "threads": {"prefetch": 4},
    "processes": {"executor": "processes", "n_workers": 1, "prefetch": 3},
}
each_parallelism = pytest.mark.parametrize("parallel", PARALLEL.values(), ids=PARALLEL)
N_EPOCHS = 4


class Rows(kit.Rows):
    @action
    def skip(self, places):
        if self.number % 3 in places:
            raise SkipBatch
        return self


def rows(n_items=10, first=0):
    return kit.rows(n_items, first, Rows)


def noisy(n_items=10, first=0):
    return rows(n_items, first).p.noise()


few = B.x > 5  # by draws: batches of an epoch have other sizes in each

CHAINS = {
    "plain": noisy(),
    "filter": noisy().filter(few).noise(),
    "skipped batches": noisy().skip([2]).noise(),
    "rebatch": noisy().rebatch(3).noise(),
    "rebatch that drops": noisy().rebatch(3, drop_last=True).noise(),
    "filter and rebatch": noisy().filter(few).rebatch(3).noise(),
    "rebatch of skipped batches": noisy().skip([2]).rebatch(3).noise(),
    "join": noisy().join(noisy()).add().noise(),
    "merge of another size": noisy().merge(noisy(17, 100)).noise(),
    "merge of another batch size": noisy().merge(noisy(7, 100).run_later(3, n_epochs=None)).noise(),
    "merge behind filter": noisy().filter(few).merge(noisy(7, 100).run_later(3, n_epochs=None)),
    "merge of filter": noisy().merge(noisy(40, 100).filter(B.x < 130)).noise(),
    "merge of rebatch": noisy().merge(noisy(40, 100).rebatch(3)).noise(),
    "merge behind rebatch behind filter": noisy()
    .filter(few)
    .rebatch(2)
    .merge(noisy(9, 100).filter(B.x < 105).run_later(3, n_epochs=None))
    .noise()
    .rebatch(3),
    "concat": noisy().concat(noisy(7, 100), noisy(3, 200).rebatch(2)).noise(),
    "concat of merge": noisy().concat(noisy(7, 100).merge(noisy(40, 300).filter(B.x < 330))),
    "concat of another first epoch": noisy().concat(noisy(7, 100).run_later(3, first_epoch=2)),
    "shard": rows(23).shard(1, 2).p.noise(),
}
each_chain = pytest.mark.parametrize("name", CHAINS)


def facts(batches):
    return [
        (b.number, b.epoch, b.source_numbers, b.source_ids.tolist(), b.x.tolist(), b.rng.random())
        for b in batches
    ]


def of_epochs(pipeline, **options):
    """What each epoch of a run gives, by its number."""
    run = pipeline.gen_batch(4, shuffle=3, **options)
    return {epoch.number: facts(epoch) for epoch in run.epochs()}


@pytest.fixture(scope="module")
def long_runs():
    return {name: of_epochs(chain, n_epochs=N_EPOCHS) for name, chain in CHAINS.items()}


@pytest.mark.parametrize("prefetch", [0, 4])
@each_chain
def test_first_epoch_gives_what_one_long_run_has_there(long_runs, name, prefetch):
    for first in range(1, N_EPOCHS):
        options = {"first_epoch": first, "n_epochs": 1, "prefetch": prefetch}
        run = CHAINS[name].gen_batch(4, shuffle=3, **options)
        assert facts(run) == long_runs[name][first], first


@each_chain
def test_first_epoch_gives_the_same_in_processes(long_runs, name):
    first, parallel = 2, PARALLEL["processes"]
    run = CHAINS[name].gen_batch(4, shuffle=3, first_epoch=first, n_epochs=1, **parallel)
    assert facts(run) == long_runs[name][first]


@each_chain
def test_epochs_count_from_the_first(long_runs, name):
    assert of_epochs(CHAINS[name], first_epoch=1, n_epochs=2) == {
        number: long_runs[name][number] for number in (1, 2)
    }


@each_chain
def test_the_epochs_are_those_of_a_plain_loop(long_runs, name):
    run = CHAINS[name].gen_batch(4, shuffle=3, n_epochs=N_EPOCHS)
    assert facts(run) == [batch for epoch in long_runs[name].values() for batch in epoch]


@each_parallelism
@each_chain
def test_an_epoch_left_early_leaves_the_next_as_it_is(long_runs, name, parallel):
    run = CHAINS[name].gen_batch(4, shuffle=3, n_epochs=N_EPOCHS, **parallel)
    for epoch in run.epochs():
        whole = long_runs[name][epoch.number]
        n_taken = [1, len(whole), 0, 1][epoch.number]
        assert (
            facts(batch for batch, _ in zip(epoch, range(n_taken), strict=False))
            == (whole[:n_taken])
        )


@pytest.mark.parametrize(
    "options", [{"shuffle": False}, {"shuffle": True, "seed": 5}, {"drop_last": True, "seed": 5}]
)
def test_every_order_has_its_epochs(options):
    whole = facts(noisy().gen_batch(4, n_epochs=3, **{"seed": 1, **options}))
    parts = [facts(noisy().gen_batch(4, first_epoch=k, **{"seed": 1, **options})) for k in range(3)]
    assert [batch for part in parts for batch in part] == whole


def in_turns():
    """An order of the user's that keeps a state."""
    n_calls = 0

    def order(positions):
        nonlocal n_calls
        n_calls += 1
        return np.roll(positions, n_calls)

    return order


def test_an_order_that_keeps_a_state_is_where_it_would_be():
    whole = facts(noisy().gen_batch(4, shuffle=in_turns(), seed=1, n_epochs=3))
    assert facts(noisy().gen_batch(4, shuffle=in_turns(), seed=1, first_epoch=2)) == whole[6:]


def test_n_iters_counts_from_the_first_epoch(long_runs):
    run = CHAINS["plain"].gen_batch(4, shuffle=3, first_epoch=1, n_iters=4)
    assert facts(run) == long_runs["plain"][1] + long_runs["plain"][2][:1]


def test_next_batch_begins_at_the_first_epoch(long_runs):
    pipeline = noisy()
    taken = [pipeline.next_batch(4, shuffle=3, first_epoch=2) for _ in range(3)]
    pipeline.reset("iter")
    assert facts(taken) == long_runs["plain"][2]


def test_run_later_says_where_to_begin(long_runs):
    later = noisy().run_later(4, shuffle=3, first_epoch=2)
    assert facts(later) == long_runs["plain"][2]


@pytest.mark.parametrize("options", [{}, {"first_epoch": 1}])
def test_replay_takes_the_number_as_it_is(long_runs, options):
    again = CHAINS["plain"].replay(4, batch_size=4, shuffle=3, **options)
    assert facts([again]) == long_runs["plain"][1][1:2]


def test_the_note_of_an_error_shows_a_call_that_makes_the_batch_again():
    pipeline = noisy().call(lambda x, number: 1 / (number - 7), B.x, B.number, save_to=B.z)
    with pytest.raises(ZeroDivisionError) as caught:
        pipeline.run(4, shuffle=3, first_epoch=2)
    call = next(note for note in caught.value.__notes__ if "replay" in note)
    assert "pipeline.replay(7, batch_size=4, shuffle=3, seed=3)" in call


def test_progress_is_that_of_the_long_run():
    from batchflow import I

    pipeline = rows().p.update(B.x, B.x * 0 + I.current + I.max / 100)
    run = pipeline.gen_batch(4, first_epoch=2, n_epochs=1)
    assert [batch.x[0] for batch in run] == [7.09, 8.09, 9.09]


def test_the_length_counts_from_the_first_epoch():
    assert len(noisy().rebatch(3).gen_batch(4, first_epoch=2, n_epochs=3)) == 12


@pytest.mark.parametrize("name", ["merge of another size", "concat", "merge of rebatch"])
def test_the_length_is_that_of_what_is_left(name):
    run = CHAINS[name].gen_batch(4, first_epoch=2, n_epochs=2)
    try:
        length = len(run)
    except TypeError as error:
        assert "not known" in str(error)  # noqa: PT017  either is right
    else:
        assert length == len(list(run))


def test_a_merge_behind_ordered_steps_begins_at_a_later_epoch_if_all_batches_come():
    pipeline = noisy().init_variable("n", 0).update(V("n"), V("n") + 1).merge(noisy(17, 100))
    whole = facts(pipeline.gen_batch(4, shuffle=3, n_epochs=2))
    assert facts(pipeline.gen_batch(4, shuffle=3, first_epoch=1)) == whole[3:]


def test_ordered_steps_are_not_taken_again_to_find_out_where_a_merge_begins():
    pipeline = noisy().init_variable("n", 0).update(V("n"), V("n") + 1).filter(few)
    with pytest.raises(ArgumentValueError, match=r"merge\(.*is not known.*ordered steps"):
        pipeline.merge(noisy(17, 100)).gen_batch(4, first_epoch=1)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_chain_has_its_epochs(data):
    draw = data.draw

    def chain(depth, first):
        pipeline = noisy(draw(st.integers(1, 12)), first)
        for _ in range(draw(st.integers(0, 3))):
            word = draw(st.sampled_from(["filter", "rebatch", "merge", "concat", "noise"]))
            if word == "filter":
                pipeline = pipeline.filter(B.x % 3 > draw(st.integers(0, 2)))
            elif word == "rebatch":
                pipeline = pipeline.rebatch(draw(st.integers(1, 5)), drop_last=draw(st.booleans()))
            elif word == "noise" or depth == 2:
                pipeline = pipeline.noise()
            else:
                other = chain(depth + 1, 1000 * (1 + draw(st.integers(0, 5))) + 50 * depth)
                later = draw(st.sampled_from([{"n_epochs": 300}, {}]))
                other = other.run_later(draw(st.integers(1, 4)), **later)
                pipeline = getattr(pipeline, word)(other)
        return pipeline

    pipeline, size = chain(0, 0), draw(st.integers(1, 5))
    first, shuffle = draw(st.integers(1, 2)), draw(st.sampled_from([None, 7]))
    options = {"shuffle": shuffle, "seed": 4}
    whole = facts(pipeline.gen_batch(size, n_epochs=3, **options))
    options["prefetch"] = draw(st.sampled_from([0, 3]))
    later = {"first_epoch": first, "n_epochs": 3 - first, **options}
    tail = facts_or_none(lambda: pipeline.gen_batch(size, **later))
    assert tail == whole[len(whole) - len(tail) :]
    assert all(epoch < first for _, epoch, *_ in whole[: len(whole) - len(tail)])


SMALL = rows(5, 100).p  # two batches of four, where an epoch of the others has three


def facts_or_none(run):
    """What a run gives; nothing, where a merged pipeline has ended before it begins."""
    try:
        return facts(run())
    except ArgumentValueError as error:
        assert "has ended in the epochs before" in str(error)  # noqa: PT017  no other is meant
        return []


each_merge_of_a_shorter = pytest.mark.parametrize(
    "build", [lambda p: p.merge(SMALL), lambda p: p.filter(few).merge(SMALL)]
)


@each_merge_of_a_shorter
def test_a_later_epoch_ends_with_a_shorter_pipeline_as_one_long_run_does(build):
    pipeline = build(noisy())
    whole = of_epochs(pipeline, n_epochs=3)
    for first in (0, 1):
        options = {"first_epoch": first, "n_epochs": 3 - first}
        later = facts(pipeline.gen_batch(4, shuffle=3, **options))
        assert later == [
            batch for number, epoch in whole.items() if number >= first for batch in epoch
        ]


@each_merge_of_a_shorter
def test_a_run_behind_the_end_of_a_shorter_pipeline_is_told(build):
    with pytest.raises(ArgumentValueError, match=r"merge\(.*has ended .*n_epochs=None"):
        build(noisy()).run(4, shuffle=3, first_epoch=2)


def test_a_pipeline_that_has_ended_before_is_told():
    pipeline = noisy().merge(SMALL.run_later(4, n_epochs=1))
    with pytest.raises(ArgumentValueError, match=r"merge\(.*has ended .*n_epochs=None"):
        pipeline.gen_batch(4, first_epoch=1)


def test_a_pipeline_that_ends_before_ends_the_epochs_of_a_run():
    run = noisy().merge(SMALL.run_later(4, n_epochs=1)).gen_batch(4, n_epochs=3)
    seen = []
    for epoch in run.epochs():
        seen.append(epoch.number)
        next(epoch, None)
    assert seen == [0, 1]


# ---- training


def trained():
    class Trained(Rows):
        @model()
        def weights():
            return {"w": 0.0, "seen": []}

        @action(model="weights", singleton=True)
        def train(self, weights):
            weights["w"] = 0.9 * weights["w"] + float(self.x.mean())
            weights["seen"].append(self.number)
            return self

    return Dataset.from_arrays(Trained, x=np.arange(10.0)).p.noise().train()


@pytest.mark.parametrize("prefetch", [0, 4])
def test_a_run_for_each_epoch_trains_as_one_run_of_all(prefetch):
    whole = trained().run(4, shuffle=3, n_epochs=3, prefetch=prefetch)
    parts = trained()
    for epoch in range(3):
        parts.run(4, shuffle=3, first_epoch=epoch, prefetch=prefetch)
    assert parts.m("weights") == whole.m("weights")


@pytest.mark.parametrize("prefetch", [0, 4])
def test_steps_per_call_train_alike_from_a_later_epoch(prefetch):
    class Mean:
        def __init__(self):
            self.seen = []

        def train(self, x, number):
            self.seen.append((number, float(x.mean())))

    def pipeline():
        chain = noisy().init_model("mean", Mean)
        return chain.train_model("mean", B.x, B.number, steps_per_call=2)

    whole = pipeline().run(4, shuffle=3, n_epochs=3, prefetch=prefetch)
    last = pipeline().run(4, shuffle=3, first_epoch=2, prefetch=prefetch)
    assert last.m("mean").seen == whole.m("mean").seen[6:]


@pytest.mark.parametrize("prefetch", [0, 4])
def test_behind_an_epoch_nothing_of_the_next_has_been_trained(prefetch):
    pipeline = trained()
    for epoch in pipeline.gen_batch(4, shuffle=3, n_epochs=3, prefetch=prefetch).epochs():
        for _ in epoch:
            pass
        assert pipeline.m("weights")["seen"] == list(range(3 * (epoch.number + 1)))


@pytest.mark.parametrize("prefetch", [0, 4])
def test_what_is_left_of_an_epoch_is_not_trained(prefetch):
    pipeline = trained()
    for epoch in pipeline.gen_batch(4, shuffle=3, n_epochs=3, prefetch=prefetch).epochs():
        next(epoch)
    assert pipeline.m("weights")["seen"] == [0, 3, 6]


# ---- epoch by epoch


@pytest.mark.parametrize("prefetch", [0, 4])
def test_an_epoch_ends_where_its_last_batch_is_filtered_away(prefetch):
    pipeline = rows(8).p.filter(B.indices < 6)
    run = pipeline.gen_batch(2, n_epochs=3, prefetch=prefetch)
    seen = [(epoch.number, [b.number for b in epoch]) for epoch in run.epochs()]
    assert seen == [(0, [0, 1, 2]), (1, [4, 5, 6]), (2, [8, 9, 10])]


@pytest.mark.parametrize("prefetch", [0, 4])
@pytest.mark.parametrize("where", ["ahead", "in order", "behind"])
def test_an_epoch_of_skips_only_is_empty(prefetch, where):
    pipeline = rows(8).p.init_variable("n", 0)
    if where != "ahead":
        pipeline = pipeline.update(V("n"), V("n") + 1)
    pipeline = pipeline.filter(lambda b: b.epoch != 1, over="batches")
    if where == "in order":
        pipeline = pipeline.update(V("n"), V("n") + 1)
    run = pipeline.gen_batch(4, n_epochs=3, prefetch=prefetch)
    assert [[b.number for b in epoch] for epoch in run.epochs()] == [[0, 1], [], [4, 5]]


def test_a_stop_ends_the_epochs():
    class Stopping(Rows):
        @action
        def stop(self, at):
            if self.number == at:
                raise StopPipeline
            return self

    pipeline = Dataset(8, Stopping).p.stop(3)
    run = pipeline.gen_batch(4, n_epochs=3)
    assert [[b.number for b in epoch] for epoch in run.epochs()] == [[0, 1], [2]]


def test_n_iters_cuts_the_last_epoch_short():
    run = rows(8).p.gen_batch(4, n_iters=3)
    assert [[b.number for b in epoch] for epoch in run.epochs()] == [[0, 1], [2]]


def test_an_endless_run_has_epochs_without_end():
    with rows(8).p.gen_batch(4, n_epochs=None) as run:
        for epoch in run.epochs():
            assert [b.epoch for b in epoch] == [epoch.number] * 2
            if epoch.number == 3:
                break


def test_an_epoch_that_has_ended_stays_ended():
    run = rows(8).p.gen_batch(4, n_epochs=2)
    epoch = next(run.epochs())
    assert [len([*epoch]), len([*epoch])] == [2, 0]


def test_an_epoch_that_was_left_says_so():
    epochs = rows(8).p.gen_batch(4, n_epochs=2).epochs()
    first, _ = next(epochs), next(epochs)
    with pytest.raises(RunClosedError, match="epoch 0 of this run has been left"):
        next(first)


def test_epochs_begin_with_the_run():
    run = rows(8).p.gen_batch(4)
    next(run)
    with pytest.raises(BatchflowError, match="taken from this one: call it once"):
        run.epochs()


def test_a_run_whose_epochs_are_over_has_ended():
    run = rows(8).p.gen_batch(4, n_epochs=2)
    for epoch in run.epochs():
        next(epoch)
    with pytest.raises(RunClosedError, match="has ended"):
        run.epochs()


@pytest.mark.parametrize("how", ["read", "left", "not begun"])
def test_the_last_steps_are_taken_once_behind_the_last_epoch(how):
    taken = []
    pipeline = rows(8).p.before.call(taken.append, "before").after.call(taken.append, "after").main
    for epoch in pipeline.gen_batch(4, n_epochs=3, prefetch=2).epochs():
        if how != "not begun":
            next(epoch)
        if how == "read":
            next(epoch)
        assert "after" not in taken
    assert taken == ["before", "after"]


@each_parallelism
@pytest.mark.parametrize("way", ["break", "error", "end"])
def test_every_way_out_of_an_epoch_leaves_nothing(parallel, way):
    with nothing_left():
        with noisy().gen_batch(2, n_epochs=3, shuffle=3, **parallel) as run:
            try:
                for epoch in run.epochs():
                    for batch in epoch:
                        if batch.number == 7 and way == "break":
                            raise KeyError
                        if batch.number == 7 and way == "error":
                            raise LookupError
                        if epoch.number == 0:
                            break
            except LookupError:
                pass
        del run, epoch, batch


def test_an_error_of_an_action_comes_in_its_epoch():
    pipeline = noisy().call(lambda number: 1 / (number - 7), B.number, save_to=B.z)
    seen = []
    with pytest.raises(ZeroDivisionError):
        for epoch in pipeline.gen_batch(4, n_epochs=4, prefetch=4).epochs():
            seen.extend((epoch.number, batch.number) for batch in epoch)
    assert seen[-1] == (2, 6)


def test_draws_of_late_values_are_those_of_the_epoch():
    pipeline = rows().p.update(B.x, B.x + R.random())
    whole = facts(pipeline.gen_batch(4, seed=2, n_epochs=3))
    assert facts(pipeline.gen_batch(4, seed=2, first_epoch=1, n_epochs=2)) == whole[3:]
