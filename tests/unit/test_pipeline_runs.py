"""Running a pipeline: run, gen_batch, next_batch, lazy runs, reset, skips, results of actions."""

import threading

import numpy as np
import pytest

from batchflow import (
    ActionResultError,
    ArgumentTypeError,
    ArgumentValueError,
    ArrayBatch,
    Dataset,
    Pipeline,
    Run,
    RunClosedError,
    SkipBatch,
    SkipBatchException,
    StopPipeline,
    action,
)


class Numbers(ArrayBatch):
    @action
    def add(self, value):
        self.data = self.data + value
        return self

    @action
    def skip(self, numbers):
        if self.number in numbers:
            raise SkipBatch
        return self

    @action
    def stop(self, at):
        if self.number == at:
            raise StopPipeline
        return self

    @action
    def fail(self, at, error=None):
        if self.number == at:
            raise error or ValueError("mine")
        return self

    @action(singleton=True)
    def note(self):
        self.pipeline.v("seen").append(self.number)
        return self

    @action(singleton=True)
    def fail_in_order(self, at):
        if self.number == at:
            raise ValueError("mine")
        return self

    @action
    def give(self, what):
        return what


N = 10
DATASET = Dataset.from_arrays(Numbers, data=np.arange(N))


def numbers(run):
    return [b.number for b in run]


# ---- run


def test_run_returns_the_pipeline_itself():
    pipeline = DATASET.p.add(1)
    assert pipeline.run(2) is pipeline


def test_run_fills_the_variables():
    assert DATASET.p.init_variable("seen", init=list).note().run(5).v("seen") == [0, 1]


def test_run_keeps_no_batch_alive():
    import gc
    import weakref

    class Tracked(Numbers):
        @action(singleton=True)
        def track(self, refs):
            refs.append(weakref.ref(self))
            return self

    refs = []
    Dataset.from_arrays(Tracked, data=np.arange(6)).p.track(refs).run(1, prefetch=2)
    gc.collect()
    assert [ref() for ref in refs] == [None] * 6


def test_a_run_tells_its_seed_afterwards():
    pipeline = DATASET.p.add(1)
    before = pipeline.seed
    assert (before, pipeline.run(2, seed=11).seed) == (None, 11)


# ---- gen_batch


def test_gen_batch_gives_a_run():
    assert isinstance(DATASET.p.gen_batch(2), Run)


def test_nothing_runs_before_the_first_batch():
    calls = []
    DATASET.p.init_variable("n", init=lambda: calls.append(0)).gen_batch(2)
    assert calls == []


def test_no_thread_starts_before_the_first_batch():
    before = threading.active_count()
    DATASET.p.add(1).gen_batch(2, prefetch=4)
    assert threading.active_count() == before


def test_a_run_has_a_length_where_it_is_known():
    assert len(DATASET.p.gen_batch(3, n_epochs=2)) == 8


def test_a_run_is_its_own_iterator():
    run = DATASET.p.gen_batch(5)
    assert iter(run) is run


def test_a_run_that_has_ended_says_so_when_it_is_gone_through_again():
    run = DATASET.p.gen_batch(5)
    assert numbers(run) == [0, 1]
    with pytest.raises(RunClosedError, match=r"has ended.*once.*gen_batch.*n_epochs"):
        numbers(run)


def test_next_on_a_run_that_has_ended_stays_the_end():
    run = DATASET.p.gen_batch(5)
    assert numbers(run) == [0, 1]
    assert [next(run, None), next(run, None)] == [None, None]


def test_the_end_of_a_run_ends_zip_too():
    run, other = DATASET.p.gen_batch(5), DATASET.p.gen_batch(5, n_epochs=2)
    assert [(a.number, b.number) for a, b in zip(run, other, strict=False)] == [(0, 0), (1, 1)]


def test_a_loop_goes_on_where_another_has_left_the_run():
    run = DATASET.p.gen_batch(2)
    for batch in run:
        if batch.number == 1:
            break
    assert numbers(run) == [2, 3, 4]


@pytest.mark.parametrize("prefetch", [0, 2])
def test_a_closed_run_says_so_when_asked_for_more(prefetch):
    run = DATASET.p.add(1).gen_batch(2, prefetch=prefetch)
    next(run)
    run.close()
    with pytest.raises(RunClosedError, match=r"closed.*gen_batch"):
        next(run)


def test_a_run_closed_before_its_first_batch_says_so():
    run = DATASET.p.add(1).gen_batch(2, prefetch=2)
    run.close()
    with pytest.raises(RunClosedError, match="closed"):
        next(run)


def test_closing_twice_does_no_harm():
    run = DATASET.p.add(1).gen_batch(2, prefetch=2)
    next(run)
    run.close()
    assert run.close() is None


def test_closing_after_the_end_does_no_harm():
    run = DATASET.p.gen_batch(5)
    list(run)
    run.close()
    assert next(run, None) is None


def test_leaving_a_with_block_closes_the_run():
    with DATASET.p.add(1).gen_batch(2, prefetch=2) as run:
        next(run)
    with pytest.raises(RunClosedError):
        next(run)


def test_a_run_that_failed_says_so_when_asked_for_more():
    run = DATASET.p.fail(0).gen_batch(2)
    with pytest.raises(ValueError, match="mine"):
        next(run)
    with pytest.raises(RunClosedError, match="failed"):
        next(run)


@pytest.mark.parametrize(
    ("finish", "shown"),
    [(lambda run: None, ""), (list, ", ended"), (lambda run: run.close(), ", closed")],
)
def test_repr_of_a_run_tells_its_state(finish, shown):
    run = DATASET.p.gen_batch(5, seed=3)
    finish(run)
    assert repr(run) == f"<Run of 2 batches, seed 3{shown}>"


def test_repr_of_an_endless_run_says_so():
    assert repr(DATASET.p.gen_batch(5, n_epochs=None, seed=3)) == "<Run of endless, seed 3>"


def test_two_runs_of_one_pipeline_have_separate_positions():
    pipeline = DATASET.p.add(1)
    one, two = pipeline.gen_batch(5), pipeline.gen_batch(2)
    taken = [next(one), next(two), next(two), next(one), next(two)]
    assert [b.data[0] for b in taken] == [1, 1, 3, 6, 5]


# ---- the results of actions


@pytest.mark.parametrize(
    ("what", "shown"),
    [(None, "nothing"), (5, "int 5"), ([], r"list \[\]"), (Numbers, "type"), ("batch", "str")],
)
@pytest.mark.parametrize("prefetch", [0, 2])
def test_an_action_that_returns_no_batch_is_told_to(what, shown, prefetch):
    with pytest.raises(ActionResultError, match=f"'give'.*returned {shown}.*return self"):
        DATASET.p.give(what).run(5, prefetch=prefetch)


@pytest.mark.parametrize("prefetch", [0, 2])
def test_a_stop_iteration_of_an_action_does_not_end_the_run_quietly(prefetch):
    with pytest.raises(RuntimeError, match="'fail' raised StopIteration"):
        DATASET.p.fail(1, StopIteration()).run(5, prefetch=prefetch)


@pytest.mark.parametrize("prefetch", [0, 2])
def test_the_exception_is_the_users_own_object(prefetch):
    failure = ValueError("mine")
    with pytest.raises(ValueError, match="mine") as caught:
        DATASET.p.fail(1, failure).run(2, prefetch=prefetch)
    assert caught.value is failure


@pytest.mark.parametrize("prefetch", [0, 2])
def test_a_batch_that_an_action_broke_does_not_hide_the_exception_of_the_action(prefetch):
    class Broken(Numbers):
        @action
        def break_it(self):
            self.index = list(self.indices)
            raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        Dataset(4, Broken).p.break_it().run(2, prefetch=prefetch)


# ---- skip and stop


@pytest.mark.parametrize("prefetch", [0, 3])
def test_a_skipped_batch_keeps_its_number(prefetch):
    assert numbers(DATASET.p.skip([1, 3]).gen_batch(2, prefetch=prefetch)) == [0, 2, 4]


def test_iterations_count_skipped_batches():
    assert numbers(DATASET.p.skip([1, 3]).gen_batch(2, n_iters=4)) == [0, 2]


def test_the_length_counts_skipped_batches():
    assert len(DATASET.p.skip([1, 3]).gen_batch(2)) == 5


def test_a_run_may_skip_everything():
    assert numbers(DATASET.p.skip(range(5)).gen_batch(2, prefetch=2)) == []


def test_steps_before_a_skip_in_the_section_have_run():
    pipeline = DATASET.p.init_variable("seen", init=list).note().skip([1]).note()
    pipeline.run(4)
    assert pipeline.v("seen") == [0, 0, 1, 2, 2]


@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_skip_in_the_section_lets_the_later_batches_through(at):
    pipeline = DATASET.p.init_variable("seen", init=list).note().skip([at]).note()
    assert numbers(pipeline.gen_batch(4, prefetch=2)) == [n for n in range(3) if n != at]


@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_skip_after_the_section_lets_the_later_batches_through(at):
    pipeline = DATASET.p.init_variable("seen", init=list).note().skip([at])
    assert numbers(pipeline.gen_batch(4, prefetch=2)) == [n for n in range(3) if n != at]


@pytest.mark.parametrize("prefetch", [0, 3])
@pytest.mark.parametrize("at", [0, 2, 4])
def test_stop_ends_the_run_before_its_batch(prefetch, at):
    assert numbers(DATASET.p.stop(at).gen_batch(2, prefetch=prefetch)) == list(range(at))


def test_a_run_that_was_stopped_has_ended():
    run = DATASET.p.stop(1).gen_batch(2)
    assert (numbers(run), next(run, None)) == ([0], None)


def test_the_old_name_of_the_skip_signal_is_the_same_class():
    assert SkipBatchException is SkipBatch


# ---- next_batch


def test_next_batch_gives_one_batch_after_the_other():
    pipeline = DATASET.p.add(1)
    assert [pipeline.next_batch(4).data.tolist() for _ in range(3)] == [
        [1, 2, 3, 4],
        [5, 6, 7, 8],
        [9, 10],
    ]


def test_next_batch_goes_on_for_ever():
    pipeline = DATASET.p.add(1)
    assert [pipeline.next_batch(5).epoch for _ in range(6)] == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("limit", [{"n_epochs": 1}, {"n_iters": 2}, {"n_epochs": 3, "n_iters": 2}])
def test_next_batch_ends_where_an_end_was_asked_for(limit):
    pipeline = DATASET.p.add(1)
    pipeline.next_batch(5, **limit)
    pipeline.next_batch()
    for _ in range(2):
        with pytest.raises(StopIteration):
            pipeline.next_batch()


@pytest.mark.parametrize(
    "options",
    [{}, {"shuffle": 3}, {"shuffle": sorted}, {"shuffle": np.random.default_rng(1)}, {"seed": 2}],
    ids=lambda value: repr(value).partition(" at 0x")[0],
)
def test_next_batch_takes_the_same_arguments_again(options):
    pipeline = DATASET.p.add(1)
    assert [pipeline.next_batch(5, **options).number for _ in range(3)] == [0, 1, 2]


@pytest.mark.parametrize(
    ("first", "later"),
    [
        ((2, {}), (3, {})),
        ((2, {}), (2, {"shuffle": True})),
        ((2, {"shuffle": 1}), (2, {"shuffle": 2})),
        ((2, {"shuffle": 1}), (2, {"shuffle": True})),
        ((2, {"shuffle": 0}), (2, {"shuffle": False})),
        ((2, {"prefetch": 2}), (2, {"prefetch": 3})),
        ((2, {"n_epochs": 2}), (2, {"n_epochs": 3})),
        ((2, {"seed": 1}), (2, {"seed": 2})),
        ((2, {"shuffle": 1}), (None, {"shuffle": 2})),
    ],
    ids=repr,
)
def test_next_batch_refuses_other_arguments_and_names_reset(first, later):
    pipeline = DATASET.p.add(1)
    pipeline.next_batch(first[0], **first[1])
    with pytest.raises(ArgumentValueError, match=r'reset\("iter"\)'):
        pipeline.next_batch(later[0], **later[1])


def test_a_refused_next_batch_loses_no_batch():
    pipeline = DATASET.p.add(1)
    pipeline.next_batch(2)
    with pytest.raises(ArgumentValueError):
        pipeline.next_batch(3)
    assert pipeline.next_batch(2).number == 1


def test_reset_lets_next_batch_start_anew_with_other_arguments():
    pipeline = DATASET.p.add(1)
    pipeline.next_batch(2)
    pipeline.reset("iter")
    assert len(pipeline.next_batch(3)) == 3


def test_reset_without_a_word_is_reset_iter():
    pipeline = DATASET.p.add(1)
    pipeline.next_batch(2)
    assert pipeline.reset().next_batch(2).number == 0


def test_next_batch_is_not_disturbed_by_run_and_gen_batch():
    pipeline = DATASET.p.add(1)
    seen = [pipeline.next_batch(2).number]
    pipeline.run(5)
    list(pipeline.gen_batch(2))
    seen.append(pipeline.next_batch(2).number)
    assert seen == [0, 1]


def test_run_and_gen_batch_are_not_disturbed_by_next_batch():
    pipeline = DATASET.p.add(1)
    run = pipeline.gen_batch(2)
    taken = [next(run).number, pipeline.next_batch(2).number, next(run).number]
    assert taken == [0, 0, 1]


def test_a_chained_value_has_its_own_cursor():
    pipeline = DATASET.p.add(1)
    pipeline.next_batch(2)
    assert pipeline.add(2).next_batch(2).number == 0


@pytest.mark.parametrize("prefetch", [0, 2])
def test_next_batch_after_an_error_says_how_to_go_on(prefetch):
    pipeline = DATASET.p.fail(1)
    pipeline.next_batch(2, prefetch=prefetch)
    with pytest.raises(ValueError, match="mine"):
        pipeline.next_batch()
    with pytest.raises(RunClosedError, match=r'reset\("iter"\)'):
        pipeline.next_batch()


def test_a_dataset_gives_raw_batches_one_by_one():
    dataset = Dataset(5)
    assert [dataset.next_batch(2).indices.tolist() for _ in range(4)] == [
        [0, 1],
        [2, 3],
        [4],
        [0, 1],
    ]


def test_a_dataset_can_be_reset():
    dataset = Dataset(5)
    dataset.next_batch(2)
    dataset.reset()
    assert dataset.next_batch(3).indices.tolist() == [0, 1, 2]


def test_a_part_of_a_dataset_has_its_own_cursor():
    dataset = Dataset(10)
    dataset.next_batch(2)
    assert dataset.split(0.5).test.next_batch(2).indices.tolist() == [5, 6]


# ---- later


def test_run_later_sets_options_for_run():
    pipeline = DATASET.p.init_variable("seen", init=list).note().run_later(5, n_epochs=2)
    assert pipeline.run().v("seen") == [0, 1, 2, 3]


def test_run_lazy_is_run_later():
    pipeline = DATASET.p.init_variable("seen", init=list).note().run(5, lazy=True)
    before = list(pipeline.v("seen"))
    assert (before, pipeline.run().v("seen")) == ([], [0, 1])


def test_run_later_sets_options_for_gen_batch():
    assert numbers(DATASET.p.run_later(5).gen_batch()) == [0, 1]


def test_run_later_sets_options_for_next_batch():
    assert len(DATASET.p.run_later(4).next_batch()) == 4


def test_next_batch_after_run_later_goes_on_for_ever():
    pipeline = DATASET.p.run_later(5)
    assert [pipeline.next_batch().number for _ in range(5)] == [0, 1, 2, 3, 4]


def test_what_is_given_at_the_run_wins_over_what_was_set_ahead():
    assert [len(b) for b in DATASET.p.run_later(5, n_epochs=2).gen_batch(10)] == [10, 10]


def test_a_single_option_at_the_run_leaves_the_others_set_ahead():
    assert numbers(DATASET.p.run_later(5, n_epochs=2).gen_batch(n_epochs=1)) == [0, 1]


def test_actions_chained_after_run_later_keep_its_options():
    assert [b.data.tolist() for b in DATASET.p.run_later(5).add(1).gen_batch()] == [
        [1, 2, 3, 4, 5],
        [6, 7, 8, 9, 10],
    ]


def test_a_piece_can_carry_its_options():
    assert numbers((DATASET >> Pipeline().add(1).run_later(5)).gen_batch()) == [0, 1]


def test_a_new_run_later_replaces_the_old():
    assert len(numbers(DATASET.p.run_later(5, n_epochs=3).run_later(5).gen_batch())) == 2


def test_run_without_a_batch_size_says_how_to_give_one():
    with pytest.raises(ArgumentTypeError, match=r"run\(64\).*run_later\(64\)"):
        DATASET.p.run()


# ---- reset


@pytest.mark.parametrize(
    ("typo", "meant"), [("itr", "iter"), ("variabels", "variables"), ("model", "models")]
)
@pytest.mark.parametrize("over", [DATASET.p, Dataset(3)], ids=["pipeline", "dataset"])
def test_resetting_an_unknown_part_is_refused_with_the_right_name(over, typo, meant):
    with pytest.raises(ArgumentValueError, match=f"{typo!r}.*Did you mean {meant!r}"):
        over.reset(typo)


def test_reset_returns_the_pipeline():
    pipeline = DATASET.p
    assert pipeline.reset("all") is pipeline


def test_reset_of_several_parts():
    pipeline = DATASET.p.init_variable("n", 0)
    pipeline.set_variable("n", 5)
    pipeline.next_batch(2)
    pipeline.reset("iter", "vars")
    assert (pipeline.v("n"), pipeline.next_batch(2).number) == (0, 0)


def test_a_reset_with_a_typo_resets_nothing():
    pipeline = DATASET.p.init_variable("n", 0)
    pipeline.set_variable("n", 5)
    with pytest.raises(ArgumentValueError):
        pipeline.reset("variables", "itr")
    assert pipeline.v("n") == 5


# ---- executors and bars


def test_the_serial_executor_never_starts_a_thread():
    threads = set()

    class Where(Numbers):
        @action
        def where(self):
            threads.add(threading.current_thread())
            return self

    pipeline = Dataset.from_arrays(Where, data=np.arange(8)).p.where()
    pipeline.run(1, executor="serial", prefetch=4, n_workers=4)
    assert threads == {threading.current_thread()}


def test_a_bar_counts_skipped_batches_too(capfd):
    DATASET.p.skip([0, 2]).run(2, bar=True)
    assert "5/5" in capfd.readouterr().err


def test_a_bar_tells_the_share_of_waiting(capfd):
    DATASET.p.add(1).run(2, bar=True, prefetch=2)
    assert "waited" in capfd.readouterr().err


def test_without_a_bar_nothing_is_printed(capfd):
    DATASET.p.add(1).run(2, prefetch=2)
    assert capfd.readouterr() == ("", "")
