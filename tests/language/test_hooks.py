"""Steps before the first batch and after the last: `before`, `after`, `once`."""

import asyncio
import gc
import os
import signal
import threading
import time

import numpy as np
import pytest

from batchflow import (
    ArgumentTypeError,
    ArrayBatch,
    B,
    C,
    D,
    Dataset,
    F,
    L,
    Pipeline,
    R,
    SkipBatch,
    StopPipeline,
    UnknownAttributeError,
    UnknownNameError,
    V,
    W,
    action,
)
from batchflow.testing import nothing_left

from .conftest import PREFETCH, each_prefetch


class Rows(ArrayBatch):
    components = "x"

    @action
    def ok(self):
        return self

    @action
    def boom(self, at):
        if self.number == at:
            raise ValueError(f"boom at {at}")
        return self

    @action
    def stop(self, at):
        if self.number == at:
            raise StopPipeline
        return self


@pytest.fixture
def dataset():
    return Dataset.from_arrays(Rows, x=np.arange(8.0))


@pytest.fixture
def log():
    return []


def fail(error):
    raise error


def bracketed(dataset, log):
    """A pipeline that notes down the moments of its runs."""
    chain = dataset.p.before.call(log.append, "before").main.call(log.append, B.number)
    return chain.after.call(log.append, "after").main


# ---- when they are taken


@each_prefetch
def test_they_are_taken_once_around_the_batches_of_each_run(dataset, log, prefetch):
    pipeline = dataset.p.before.call(log.append, "before").main.after.call(log.append, "after").main
    for _ in range(2):
        log += [batch.number for batch in pipeline.gen_batch(4, n_epochs=2, prefetch=prefetch)]
    assert log == ["before", "after", 0, 1, 2, 3] * 2


@each_prefetch
def test_no_batch_is_made_before_before_and_none_after_after(dataset, log, prefetch):
    bracketed(dataset, log).run(2, prefetch=prefetch)
    assert (log[0], log[-1]) == ("before", "after")
    assert sorted(log[1:-1]) == [0, 1, 2, 3]


def test_nothing_is_taken_before_the_first_batch_is_asked_for(dataset, log):
    run = bracketed(dataset, log).gen_batch(2)
    run.close()
    assert log == []


def test_steps_of_a_moment_are_taken_in_their_order(dataset, log):
    dataset.p.before.call(log.append, 1).call(log.append, 2).main.before.call(log.append, 3).run(4)
    assert log == [1, 2, 3]


def test_once_is_taken_before_before_and_in_the_first_run_only(dataset, log):
    pipeline = dataset.p.before.call(log.append, "before").once.call(log.append, "once").main
    pipeline.run(4)
    pipeline.run(4)
    assert log == ["once", "before", "before"]


@pytest.mark.parametrize("part", ["variables", "models", "all"])
def test_once_is_taken_again_after_a_reset(dataset, log, part):
    pipeline = dataset.p.once.call(log.append, "once").main.run(4)
    pipeline.reset(part).run(4)
    assert log == ["once", "once"]


def test_once_is_not_taken_again_after_the_open_run_is_reset(dataset, log):
    dataset.p.once.call(log.append, "once").main.run(4).reset("iter").run(4)
    assert log == ["once"]


def test_each_value_takes_its_own_once(dataset, log):
    parent = dataset.p.once.call(log.append, "once").main.run(4)
    parent.ok().run(4)
    assert log == ["once", "once"]


def test_once_is_taken_once_by_runs_in_several_threads(dataset, log):
    def slowly():
        time.sleep(0.05)
        log.append("once")

    pipeline = dataset.p.once.call(slowly).main.ok()
    threads = [threading.Thread(target=pipeline.run, args=(4,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert log == ["once"]


def test_no_batch_of_another_thread_comes_before_once_has_ended(dataset, log):
    begun, end = threading.Event(), threading.Event()

    def slowly():
        begun.set()
        end.wait(20)
        log.append("once")

    pipeline = dataset.p.once.call(slowly).main.call(log.append, B.number)
    first = threading.Thread(target=pipeline.run, args=(8,))
    first.start()
    begun.wait(20)
    second = threading.Thread(target=pipeline.run, args=(8,))
    second.start()
    second.join(0.1)
    end.set()
    first.join(20)
    second.join(20)
    assert log[0] == "once"


def test_next_batch_takes_them_around_its_open_run(dataset, log):
    pipeline = bracketed(dataset, log)
    for _ in range(6):
        pipeline.next_batch(4)
    assert (log.count("before"), log.count("after")) == (1, 0)
    pipeline.reset("iter")
    assert log.count("after") == 1


def test_before_sees_the_variables_that_each_run_makes_anew(dataset, log):
    pipeline = dataset.p.init_variable("n", init_on_each_run=lambda: 5)
    pipeline = pipeline.before.call(log.append, V("n")).main.update(V("n"), V("n") + 1)
    pipeline.run(4)
    pipeline.run(4)
    assert log == [5, 5]


@each_prefetch
def test_what_before_writes_the_batches_read(dataset, prefetch):
    pipeline = dataset.p.init_variable("n", 0).before.update(V("n"), 10).main
    read = [b.read for b in pipeline.update(B.read, V("n")).gen_batch(4, prefetch=prefetch)]
    assert read == [10, 10]


@each_prefetch
def test_what_the_batches_write_after_reads(dataset, log, prefetch):
    pipeline = dataset.p.init_variable("n", 0).update(V("n"), V("n") + 1)
    pipeline.after.call(log.append, V("n")).run(2, prefetch=prefetch)
    assert log == [4]


# ---- however a run ends


@each_prefetch
def test_after_is_taken_when_the_loop_is_left(dataset, log, prefetch):
    for _ in bracketed(dataset, log).gen_batch(2, prefetch=prefetch):
        break
    gc.collect()
    assert log.count("after") == 1


@each_prefetch
def test_after_is_taken_once_when_the_run_is_closed_twice(dataset, log, prefetch):
    run = bracketed(dataset, log).gen_batch(2, prefetch=prefetch)
    next(run)
    run.close()
    run.close()
    assert log.count("after") == 1


@each_prefetch
def test_after_is_taken_when_an_action_fails(dataset, log, prefetch):
    with pytest.raises(ValueError, match="boom at 1"):
        bracketed(dataset, log).boom(1).run(2, prefetch=prefetch)
    assert log.count("after") == 1


@each_prefetch
def test_after_is_taken_when_the_pipeline_is_stopped(dataset, log, prefetch):
    bracketed(dataset, log).stop(1).run(2, prefetch=prefetch)
    assert log.count("after") == 1


@each_prefetch
def test_after_is_taken_when_an_open_run_is_collected(dataset, log, prefetch):
    run = bracketed(dataset, log).gen_batch(2, prefetch=prefetch)
    next(run)
    del run
    gc.collect()
    assert log.count("after") == 1


@each_prefetch
def test_after_is_taken_on_ctrl_c(dataset, log, prefetch):
    def interrupt(number):
        if number == 1:
            threading.Event().wait(0.1)
            os.kill(os.getpid(), signal.SIGINT)
            threading.Event().wait(0.5)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            bracketed(dataset, log).call(interrupt, B.number).run(2, prefetch=prefetch)
    finally:
        signal.signal(signal.SIGINT, before)
    assert log.count("after") == 1


def test_after_is_taken_when_a_model_cannot_be_made(dataset, log):
    pipeline = bracketed(dataset, log).init_model("net", lambda: fail(OSError("no net")))
    with pytest.raises(OSError, match="no net"):
        pipeline.train_model("net", B.x).run(2)
    assert log == ["before", "after"]


def test_after_is_taken_when_before_fails(dataset, log):
    chain = dataset.p.before.call(log.append, "opened").call(fail, ValueError("no")).main
    with pytest.raises(ValueError, match="no"):
        chain.after.call(log.append, "closed").run(2)
    assert log == ["opened", "closed"]


@pytest.mark.parametrize("end", ["close", "error"])
def test_after_waits_for_actions_under_way(dataset, log, end):
    begun = threading.Event()

    def work(number):
        if number == 0 and end == "error":
            begun.wait(20)
            raise ValueError("boom")
        if number:
            begun.set()
            time.sleep(0.1)
        log.append("worked")

    chain = dataset.p.call(work, B.number).after.call(log.append, "after")
    run = chain.gen_batch(2, prefetch=2)
    if end == "error":
        with pytest.raises(ValueError, match="boom"):
            next(run)
    else:
        next(run)
        begun.wait(20)
    run.close()
    time.sleep(0.2)
    assert log[-1] == "after"


def test_after_comes_when_coroutines_under_way_have_been_cancelled(dataset, log):
    waiting = threading.Event()

    async def wait(number):
        if number == 0:
            return
        try:
            waiting.set()
            await asyncio.sleep(600)
        finally:
            log.append("cancelled")

    run = dataset.p.call(wait, B.number).after.call(log.append, "after").gen_batch(4, prefetch=2)
    next(run)
    assert waiting.wait(20)
    run.close()
    assert log == ["cancelled", "after"]


def test_after_runs_leave_nothing(dataset, log):
    with nothing_left():
        run = bracketed(dataset, log).gen_batch(2, prefetch=4)
        next(run)
        run.close()


# ---- pipelines in pipelines


@pytest.mark.parametrize("way", ["join", "merge", "concat"])
def test_the_steps_of_an_inner_pipeline_are_taken_inside_those_of_the_outer(dataset, log, way):
    inner = dataset.p.before.call(log.append, "<").main.after.call(log.append, ">").main
    outer = dataset.p.before.call(log.append, "(").main.after.call(log.append, ")").main
    getattr(outer, way)(inner).do_nothing().run(2)
    assert sorted(log) == ["(", ")", "<", ">"]
    assert log.index("<") < log.index(">")
    assert log.index("(") < log.index(")")


@pytest.mark.parametrize("way", ["join", "merge", "concat"])
def test_a_pipeline_at_a_moment_can_be_inside_of_another(dataset, log, way):
    inner = dataset.p.before.call(log.append, "inner")
    getattr(dataset.p, way)(inner).do_nothing().run(2)
    assert log == ["inner"]


def test_after_of_an_inner_pipeline_is_taken_when_that_of_the_outer_fails(dataset, log):
    inner = dataset.p.after.call(log.append, "inner").main
    with pytest.raises(ValueError, match="outer"):
        dataset.p.join(inner).do_nothing().after.call(fail, ValueError("outer")).run(4)
    assert log == ["inner"]


def test_after_of_an_inner_pipeline_is_taken_when_before_of_the_outer_fails(dataset, log):
    inner = dataset.p.after.call(log.append, "inner").main
    with pytest.raises(ValueError, match="outer"):
        dataset.p.join(inner).do_nothing().before.call(fail, ValueError("outer")).run(4)
    assert log == ["inner"]


# ---- errors in them


@pytest.mark.parametrize("moment", ["once", "before", "after"])
def test_the_very_error_of_a_step_arrives(dataset, moment):
    error = ValueError("mine")
    with pytest.raises(ValueError) as caught:
        getattr(dataset.p, moment).call(fail, error).run(4)
    assert caught.value is error


@pytest.mark.parametrize("moment", ["once", "before", "after"])
def test_an_error_names_step_moment_and_place(dataset, moment):
    with pytest.raises(ZeroDivisionError) as caught:
        getattr(dataset.p, moment).call(lambda: 1 / 0).run(4)
    (note,) = caught.value.__notes__
    assert f"in the step 'call' of .{moment}, chained at {__file__}:" in note


@pytest.mark.parametrize("moment", ["once", "before"])
def test_no_batch_is_made_when_a_step_before_fails(dataset, log, moment):
    with pytest.raises(ZeroDivisionError):
        getattr(dataset.p, moment).call(lambda: 1 / 0).main.call(log.append, 1).run(4, prefetch=2)
    assert log == []


def test_once_is_tried_again_after_it_has_failed(dataset, log):
    def first_fails():
        log.append("tried")
        if len(log) == 1:
            raise ValueError("first")

    pipeline = dataset.p.once.call(first_fails).main
    with pytest.raises(ValueError, match="first"):
        pipeline.run(4)
    pipeline.run(4)
    assert log == ["tried", "tried"]


def test_an_error_of_after_does_not_hide_that_of_an_action(dataset):
    with pytest.raises(ValueError, match="boom at 1") as caught:
        dataset.p.boom(1).after.call(lambda: 1 / 0).run(2)
    assert any("after failed, too: ZeroDivisionError" in note for note in caught.value.__notes__)


def test_an_error_of_after_does_not_hide_ctrl_c(dataset):
    with pytest.raises(KeyboardInterrupt):
        dataset.p.call(fail, KeyboardInterrupt()).after.call(lambda: 1 / 0).run(2)


def test_an_error_of_after_arrives_when_the_run_is_closed(dataset):
    run = dataset.p.after.call(lambda: 1 / 0).gen_batch(2)
    next(run)
    with pytest.raises(ZeroDivisionError):
        run.close()


def test_the_progress_bar_is_closed_when_after_fails(dataset, monkeypatch):
    closed = []
    monkeypatch.setattr("batchflow.insight.ProgressBar.closed", lambda bar: closed.append(bar))
    run = dataset.p.after.call(lambda: 1 / 0).gen_batch(2, bar=True)
    next(run)
    with pytest.raises(ZeroDivisionError):
        run.close()
    assert len(closed) == 1


@each_prefetch
def test_a_run_whose_after_fails_leaves_nothing(dataset, prefetch):
    with nothing_left(), pytest.raises(ZeroDivisionError):
        dataset.p.ok().after.call(lambda: 1 / 0).run(2, prefetch=prefetch)


def test_stop_in_before_ends_the_run_without_a_batch(dataset):
    assert list(dataset.p.before.call(fail, StopPipeline()).gen_batch(2)) == []


@pytest.mark.parametrize("moment", ["once", "before", "after"])
@pytest.mark.parametrize("signal_", [SkipBatch, StopPipeline])
def test_signals_never_reach_the_caller(dataset, moment, signal_):
    try:
        getattr(dataset.p, moment).call(fail, signal_()).run(2)
    except (SkipBatch, StopPipeline):
        pytest.fail("a signal came out of the run")
    except Exception:
        pass  # an error that says so is as good


def test_stop_iteration_in_before_is_no_quiet_end(dataset):
    with pytest.raises(RuntimeError):
        list(dataset.p.before.call(next, iter([])).gen_batch(2))


# ---- which steps


@pytest.mark.parametrize("moment", ["once", "before", "after"])
@pytest.mark.parametrize(
    "chain",
    [
        lambda hook: hook.ok(),
        lambda hook: hook.load(src=[1]),
        lambda hook: hook.discard_batch(),
        lambda hook: hook.map(len),
        lambda hook: hook.filter(len),
        lambda hook: hook.rebatch(3),
        lambda hook: hook.join(hook.main),
        lambda hook: hook.merge(hook.main),
        lambda hook: hook.concat(hook.main),
        lambda hook: hook.init_model("m", dict).train_model("m"),
        lambda hook: hook.init_model("m", dict).predict_model("m"),
    ],
)
def test_steps_that_need_batches_are_refused_when_they_are_chained(dataset, moment, chain):
    with pytest.raises(ArgumentTypeError, match=rf"needs a batch, and \.{moment} has none"):
        chain(getattr(dataset.p, moment))


@pytest.mark.parametrize("chain", [lambda p: p.before.ok(), lambda p: p.after.rebatch(3)])
def test_steps_of_an_unbound_piece_are_refused_when_it_meets_its_dataset(dataset, chain):
    piece = chain(Pipeline())
    with pytest.raises(ArgumentTypeError, match="needs a batch"):
        dataset >> piece


def test_a_dynamic_model_is_refused_before_it_can_be_made(dataset):
    with pytest.raises(ArgumentTypeError, match="'m', which is made from the first batch"):
        dataset.p.init_model("m", dict, "dynamic").before.save_model("m", "file")


def test_an_unknown_step_is_refused_with_a_suggestion(dataset):
    with pytest.raises(UnknownAttributeError, match=r"'cal'.*Did you mean 'call'"):
        dataset.p.before.cal(print)


def test_arguments_are_checked_when_the_step_is_chained(dataset):
    with pytest.raises(ArgumentTypeError, match=rf"chained at {__file__}"):
        dataset.p.before.update(V("n"))


def test_functions_of_namespaces_and_methods_of_the_dataset_are_steps_there(log):
    class Mine(Dataset):
        def tell(self, word):
            log.append((len(self), word))

    chain = Mine(3, Rows).p.before.tell("hello").add_namespace(log).append("world").main
    chain.run(3)
    assert log == [(3, "hello"), "world"]


@pytest.mark.parametrize("moment", ["once", "before", "after"])
def test_an_async_function_is_awaited(dataset, log, moment):
    async def tell(word):
        log.append(word)

    getattr(dataset.p, moment).call(tell, "told").run(4)
    assert log == ["told"]


# ---- values


def test_expressions_have_values_that_need_no_batch(dataset, log):
    chain = dataset.pipeline({"c": 1}).init_variable("v", 2).before
    chain.call(
        lambda *got: log.extend(got), C("c"), V("v"), D("index"), F(abs)(-3), L(int, "4")
    ).run(4)
    assert log == [1, 2, dataset.index, 3, 4]


def test_w_passes_an_expression_on(dataset, log):
    dataset.p.before.call(log.append, W(B.x)).run(4)
    assert repr(log[0]) == "B.x"


@pytest.mark.parametrize("moment", ["before", "after"])
def test_the_batch_is_refused_with_what_there_is(dataset, moment):
    with pytest.raises(UnknownAttributeError, match=r"no batch here.*V, C, D, F, L and R"):
        getattr(dataset.p, moment).call(len, B.x).run(4)


def test_a_value_cannot_be_stored_in_a_batch_that_is_not_there(dataset):
    with pytest.raises((AttributeError, TypeError), match="no batch"):
        dataset.p.before.call(len, [1], save_to=B.x).run(4)


def test_an_undeclared_variable_is_refused_before_the_run(dataset):
    with pytest.raises(UnknownNameError, match=r"call\(len, V\('n'\)\)"):
        dataset.p.before.call(len, V("n")).gen_batch(4)


def test_values_are_saved_to_variables(dataset):
    pipeline = dataset.p.init_variable("n").before.call(len, [1, 2], save_to=V("n")).main
    assert pipeline.run(4).v("n") == 2


def test_random_values_are_a_function_of_the_seed(dataset, log):
    for prefetch in PREFETCH:
        dataset.p.before.call(log.append, R.normal()).run(2, seed=3, prefetch=prefetch)
    dataset.p.before.call(log.append, R.normal()).run(2, seed=4)
    assert len(set(log[:3])) == 1
    assert log[3] != log[0]


def test_random_values_of_different_moments_differ(dataset, log):
    chain = dataset.p.once.call(log.append, R.normal()).before.call(log.append, R.normal())
    chain.after.call(log.append, R.normal()).run(2, seed=3)
    assert len(set(log)) == 3


def test_random_values_before_do_not_change_those_of_batches(dataset):
    drawn = [b.n for b in dataset.p.update(B.n, R.normal()).gen_batch(2, seed=3)]
    chain = dataset.p.before.call(abs, R.normal()).main.update(B.n, R.normal())
    assert [b.n for b in chain.gen_batch(2, seed=3)] == drawn


# ---- the chain at a moment acts as the pipeline


def test_steps_go_on_at_the_moment_until_main(dataset, log):
    chain = dataset.p.before.call(log.append, 1).call(log.append, 2).main.call(log.append, 3)
    chain.run(4)
    assert log == [1, 2, 3, 3]


@pytest.mark.parametrize(
    "combine",
    [
        lambda p, dataset: p << {"a": 1},
        lambda p, dataset: {"a": 1} >> p,
        lambda p, dataset: dataset >> p,
        lambda p, dataset: p << dataset,
        lambda p, dataset: p + Pipeline(),
        lambda p, dataset: Pipeline() + p,
        lambda p, dataset: p.run_later(4),
    ],
)
def test_a_combined_pipeline_goes_on_with_the_steps_of_the_batches(dataset, combine):
    combined = combine(Pipeline().before.call(len, []), dataset)
    assert len(combined.do_nothing()._plan.steps) == 1


def test_a_chain_at_a_moment_runs(dataset, log):
    chain = dataset.p.init_variable("n", 0).update(V("n"), V("n") + 1).before.call(log.append, 1)
    assert chain.run(4).v("n") == 2
    assert [b.number for b in chain.gen_batch(4)] == [0, 1]
    assert chain.next_batch(4).number == 0
    assert chain.v("n") == 5


def test_a_chain_at_a_moment_can_be_iterated_over(dataset):
    assert [b.number for b in dataset.p.run_later(4).before.call(len, [])] == [0, 1]


def test_a_chain_at_a_moment_is_added_and_put_over_datasets(dataset, log):
    first, second = Pipeline().before.call(log.append, 1), Pipeline().after.call(log.append, 2)
    for whole in (first + second, first + second.main, first.main + second):
        (dataset >> whole).run(4)
        (whole << dataset).run(4)
    (dataset >> first).run(4)
    ({"a": 1} >> (first << dataset)).run(4)
    assert log == [1, 2] * 6 + [1, 1]


def test_a_model_is_imported_from_a_chain_at_a_moment(dataset):
    chain = dataset.p.init_model("m", dict).before.call(len, [])
    assert dataset.p.import_model("m", chain).m("m") is chain.m("m")


def test_with_gives_a_chain_at_a_moment_too(dataset):
    with dataset.p.before.call(len, []) as chain:
        assert next(chain.gen_batch(4)).number == 0


def test_equal_chains_at_a_moment_are_equal(dataset):
    assert dataset.p.before.call(len, []) == dataset.p.before.call(len, [])
    assert dataset.p.before.call(len, []) != dataset.p.before.call(len, [1])


def test_a_chain_at_a_moment_is_repeated_and_left_to_chance(dataset, log):
    chain = dataset.p.call(log.append, "step").before.call(log.append, "before")
    (chain * 2).run(8)
    (chain @ 0.0).run(8)
    assert log == ["before", "step", "step", "before"]


def test_repeating_is_adding_to_itself_with_steps_at_a_moment_too():
    piece = Pipeline().before.call(len, []).main.do_nothing()
    assert piece * 2 == piece + piece


# ---- values and messages


@pytest.mark.parametrize("moment", ["once", "before", "after"])
def test_a_step_at_a_moment_leaves_the_pipeline_as_it_was(dataset, log, moment):
    parent = dataset.p.ok()
    getattr(parent, moment).call(log.append, "child")
    parent.run(4)
    assert log == []
    assert parent == dataset.p.ok()


def test_pipelines_with_other_steps_at_a_moment_differ(dataset):
    assert dataset.p.before.call(len, []).main != dataset.p
    assert dataset.p.before.call(len, []).main != dataset.p.after.call(len, []).main


@pytest.mark.parametrize("bound", [True, False])
def test_the_steps_are_shown_with_their_moment_and_place(dataset, bound):
    chain = (dataset.p if bound else Pipeline()).once.print(1).before.print(2).main.print(3)
    shown = repr(chain.after.print(4))
    for moment, number in (("once", 1), ("before", 2), ("0", 3), ("after", 4)):
        assert f"{moment} print({number})  at {__file__}:" in shown
