"""Faults of an older batchflow, A: what reading ahead lost, doubled, swallowed or left behind."""

import gc
import os
import signal
import threading
import traceback
import warnings
from pathlib import Path

import pytest

from batchflow import Batch, Dataset
from batchflow.testing import nothing_left

from .conftest import PARALLEL, MyBatch, each_prefetch, ids, run_program

pytestmark = pytest.mark.timeout(60)

OPEN_FILES = Path("/proc/self/fd")


# ---- A1, A2: errors


@each_prefetch
@pytest.mark.parametrize("n_items", [4, 5])
def test_a1_an_error_near_the_end_reaches_the_caller_as_the_same_object(prefetch, n_items):
    error = ValueError("boom")
    with pytest.raises(ValueError) as caught:
        Dataset(n_items, MyBatch).p.boom(at=3, error=error).run(1, n_epochs=1, prefetch=prefetch)
    assert caught.value is error


@each_prefetch
def test_a1_the_traceback_of_an_error_leads_to_the_action(prefetch):
    with pytest.raises(ValueError) as caught:
        Dataset(4, MyBatch).p.boom(at=3).run(1, n_epochs=1, prefetch=prefetch)
    last = traceback.extract_tb(caught.value.__traceback__)[-1]
    assert (last.name, last.line) == ("boom", 'raise error or ValueError(f"boom at {at}")')


@each_prefetch
@pytest.mark.parametrize("n_items", [4, 5])
def test_a1_gen_batch_raises_after_the_batches_before_the_error(prefetch, n_items):
    run = Dataset(n_items, MyBatch).p.boom(at=3).gen_batch(1, n_epochs=1, prefetch=prefetch)
    assert ids(next(run) for _ in range(3)) == [0, 1, 2]
    with pytest.raises(ValueError, match="boom at 3"):
        next(run)


@each_prefetch
def test_a1_an_error_is_not_printed_beside_being_raised(prefetch, capfd):
    with pytest.raises(ValueError):
        Dataset(4, MyBatch).p.boom(at=3).run(1, n_epochs=1, prefetch=prefetch)
    assert capfd.readouterr() == ("", "")


@each_prefetch
@pytest.mark.parametrize("n_items", [6, 7, 8, 30, 100])
def test_a2_an_error_with_many_batches_to_come_is_raised_every_time(prefetch, n_items):
    pipeline = Dataset(n_items, MyBatch).p.boom(at=3)
    for _ in range(15):
        with pytest.raises(ValueError, match="boom at 3"):
            pipeline.run(1, n_epochs=1, prefetch=prefetch)


@each_prefetch
def test_a2_an_error_with_many_batches_to_come_leaves_no_thread(prefetch):
    with nothing_left():
        for n_items in (6, 7, 8, 30, 100):
            with pytest.raises(ValueError, match="boom at 3"):
                Dataset(n_items, MyBatch).p.boom(at=3).run(1, n_epochs=1, prefetch=prefetch)


# ---- A3: errors where batches are made


@each_prefetch
def test_a3_a_batch_size_above_the_number_of_items_gives_one_short_batch(prefetch):
    run = Dataset(5, MyBatch).p.ok().gen_batch(10, n_epochs=1, prefetch=prefetch)
    assert [len(batch) for batch in run] == [5]


@each_prefetch
def test_a3_with_drop_last_that_would_be_none_and_is_a_value_error(prefetch):
    with pytest.raises(ValueError, match=r"batch_size=10 .* 5 items"):
        Dataset(5, MyBatch).p.ok().run(10, n_epochs=1, prefetch=prefetch, drop_last=True)


@each_prefetch
def test_a3_an_error_in_the_constructor_of_a_batch_comes_after_the_batches_before_it(prefetch):
    error = ValueError("no such batch")

    class Picky(Batch):
        def __init__(self, index, *args, **kwargs):
            super().__init__(index, *args, **kwargs)
            if 3 in self.indices:
                raise error

    run = Dataset(20, Picky).p.gen_batch(1, prefetch=prefetch)
    assert ids(next(run) for _ in range(3)) == [0, 1, 2]
    with pytest.raises(ValueError) as caught:
        next(run)
    assert caught.value is error


@each_prefetch
def test_a3_an_error_in_the_order_of_an_epoch_comes_after_the_batches_before_it(prefetch):
    error = ValueError("no order")
    epochs = []

    def order(positions):
        epochs.append(positions)
        if len(epochs) == 2:
            raise error
        return positions[::-1]

    run = Dataset(3, MyBatch).p.ok().gen_batch(1, n_epochs=2, shuffle=order, prefetch=prefetch)
    assert ids(next(run) for _ in range(3)) == [2, 1, 0]
    with pytest.raises(ValueError) as caught:
        next(run)
    assert caught.value is error


@each_prefetch
def test_a3_an_order_that_is_no_permutation_is_a_value_error(prefetch):
    pipeline = Dataset(5, MyBatch).p.ok()
    with pytest.raises(ValueError, match="each position once"):
        pipeline.run(1, shuffle=lambda positions: positions * 0, prefetch=prefetch)


# ---- A4, A5, A6: skips and stops


@each_prefetch
def test_a4_a_skip_in_the_middle_gives_the_same_batches_at_every_prefetch(prefetch):
    run = Dataset(6, MyBatch).p.skip(at=(2,)).gen_batch(1, n_epochs=1, prefetch=prefetch)
    assert ids(run) == [0, 1, 3, 4, 5]


@each_prefetch
def test_a4_several_skips_in_a_row_give_the_same_batches_at_every_prefetch(prefetch):
    skipped = (1, 2, 3, 4, 8, 9, 12)
    run = Dataset(20, MyBatch).p.ok().skip(at=skipped).ok().gen_batch(1, prefetch=prefetch)
    assert ids(run) == [i for i in range(20) if i not in skipped]


@each_prefetch
def test_a4_a_skip_at_the_end_gives_the_same_batches_at_every_prefetch(prefetch):
    run = Dataset(6, MyBatch).p.skip(at=(5,)).gen_batch(1, n_epochs=1, prefetch=prefetch)
    assert ids(run) == [0, 1, 2, 3, 4]


@each_prefetch
def test_a5_a_skip_of_the_first_batch_gives_the_others(prefetch):
    run = Dataset(6, MyBatch).p.skip(at=(0,)).gen_batch(1, n_epochs=1, prefetch=prefetch)
    assert ids(run) == [1, 2, 3, 4, 5]


@each_prefetch
def test_a5_a_run_whose_batches_are_all_skipped_is_empty(prefetch):
    with nothing_left():
        run = Dataset(6, MyBatch).p.skip(at=range(6)).gen_batch(1, n_epochs=1, prefetch=prefetch)
        assert list(run) == []


@each_prefetch
def test_a6_stop_pipeline_gives_the_batches_before_it_and_ends(prefetch):
    run = Dataset(20, MyBatch).p.stop(at=3).gen_batch(1, n_epochs=1, prefetch=prefetch)
    assert ids(run) == [0, 1, 2]


@each_prefetch
def test_a6_stop_pipeline_in_the_first_batch_gives_none(prefetch):
    run = Dataset(20, MyBatch).p.stop(at=0).gen_batch(1, n_epochs=1, prefetch=prefetch)
    assert ids(run) == []


@each_prefetch
def test_a6_run_returns_the_pipeline_after_stop_pipeline(prefetch):
    pipeline = Dataset(20, MyBatch).p.stop(at=3)
    assert pipeline.run(1, n_epochs=1, prefetch=prefetch) is pipeline


@each_prefetch
def test_a6_stop_pipeline_leaves_no_thread(prefetch):
    with nothing_left():
        Dataset(20, MyBatch).p.stop(at=3).run(1, n_epochs=1, prefetch=prefetch)


# ---- A7, A8: leaving early


@each_prefetch
def test_a7_a_loop_left_by_break_leaves_no_thread(prefetch):
    with nothing_left():
        for _ in Dataset(100, MyBatch).p.ok().gen_batch(1, n_epochs=1, prefetch=prefetch):
            break


@each_prefetch
def test_a7_abandoned_runs_leave_no_thread(prefetch):
    pipeline = Dataset(100, MyBatch).p.ok()
    with nothing_left():
        runs = [pipeline.gen_batch(1, n_epochs=1, prefetch=prefetch) for _ in range(5)]
        assert ids(next(run) for run in runs) == [0] * 5
        del runs


@each_prefetch
def test_a7_close_leaves_no_thread_at_once(prefetch):
    run = Dataset(100, MyBatch).p.ok().gen_batch(1, n_epochs=1, prefetch=prefetch)
    before = set(threading.enumerate())
    next(run)
    run.close()
    assert set(threading.enumerate()) <= before


LEFT_EARLY = {
    "break": "for b in p.ok().gen_batch(1, n_epochs=1, prefetch={prefetch}): break",
    "an open run": "run = p.ok().gen_batch(1, n_epochs=1, prefetch={prefetch}); next(run)",
    "five open runs": """
        runs = [p.ok().gen_batch(1, n_epochs=1, prefetch={prefetch}) for _ in range(5)]
        for run in runs: next(run)
        """,
    "next_batch": "p.ok().next_batch(2, prefetch={prefetch})",
    "next_batch of a kept pipeline": "q = p.ok(); q.next_batch(2, prefetch={prefetch})",
    "workers that are stuck": """
        run = p.stuck_behind_the_first().gen_batch(1, prefetch={prefetch}); next(run)
        """,
}


@pytest.mark.parametrize("prefetch", [0, 2, 4])
@pytest.mark.parametrize("way", LEFT_EARLY)
def test_a7_a_program_that_leaves_a_run_early_exits_in_silence(way, prefetch):
    done = run_program(LEFT_EARLY[way].format(prefetch=prefetch))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("prefetch", [0, 1, 4])
@pytest.mark.parametrize("where", ["ctrl_c", "ctrl_c_in_order"])
def test_a8_ctrl_c_during_a_run_ends_the_program(where, prefetch):
    done = run_program(f"p.ok().{where}(at=5).ok().run(1, prefetch={prefetch})")
    assert done.returncode == -signal.SIGINT
    assert "KeyboardInterrupt" in done.stderr


@pytest.mark.parametrize("prefetch", [0, 1, 4])
@pytest.mark.parametrize("where", ["ctrl_c", "ctrl_c_in_order"])
def test_a8_a_program_that_catches_ctrl_c_goes_on_and_exits(where, prefetch):
    done = run_program(f"""
        try:
            p.ok().{where}(at=5).run(1, prefetch={prefetch})
        except KeyboardInterrupt:
            print("caught")
        print(len(list(p.ok().gen_batch(1, prefetch={prefetch}))))
        """)
    assert (done.returncode, done.stdout, done.stderr) == (0, "caught\n100\n", "")


def test_a8_ctrl_c_while_a_worker_starts_leaves_no_thread(monkeypatch):
    start = threading.Thread.start

    def start_and_interrupt(thread):
        start(thread)
        raise KeyboardInterrupt

    with nothing_left(), monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start_and_interrupt)
        with pytest.raises(KeyboardInterrupt):
            Dataset(100, MyBatch).p.ok().run(1, prefetch=4)


# ---- A10: nothing accumulates


@pytest.fixture
def _no_garbage_collection():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


needs_proc = pytest.mark.skipif(not OPEN_FILES.exists(), reason="counts files in /proc")


@needs_proc
@each_prefetch
@pytest.mark.usefixtures("_no_garbage_collection")
def test_a10_three_thousand_batches_open_no_file(prefetch):
    pipeline = Dataset(3000, MyBatch).p.ok()
    before = len(os.listdir(OPEN_FILES))
    for batch in pipeline.gen_batch(1, prefetch=prefetch):
        if batch.number % 100 == 0:
            assert len(os.listdir(OPEN_FILES)) == before


@each_prefetch
def test_a10_three_thousand_batches_have_at_most_prefetch_threads(prefetch):
    before = threading.active_count()
    most = 0
    for _ in Dataset(3000, MyBatch).p.ok().gen_batch(1, prefetch=prefetch):
        most = max(most, threading.active_count())
    assert most <= before + prefetch


@needs_proc
@each_prefetch
@pytest.mark.usefixtures("_no_garbage_collection")
def test_a10_many_runs_leave_threads_and_files_as_they_were(prefetch):
    pipeline = Dataset(10, MyBatch).p.ok()
    pipeline.run(1, prefetch=prefetch)
    before = threading.active_count(), len(os.listdir(OPEN_FILES))
    for _ in range(300):
        pipeline.run(1, prefetch=prefetch)
    assert (threading.active_count(), len(os.listdir(OPEN_FILES))) == before


@pytest.mark.parametrize("prefetch", PARALLEL)
def test_a10_many_runs_left_early_leave_threads_and_files_as_they_were(prefetch):
    pipeline = Dataset(10, MyBatch).p.ok()
    with nothing_left():
        for _ in range(300):
            next(pipeline.gen_batch(1, prefetch=prefetch))


# ---- A14, A15: next_batch


@each_prefetch
def test_a14_next_batch_goes_on_after_another_run_of_the_same_pipeline(prefetch):
    p = Dataset(6, MyBatch).p.ok()
    first = p.next_batch(2, prefetch=prefetch)
    between = list(p.gen_batch(2, n_epochs=1, prefetch=prefetch))
    second = p.next_batch(2, prefetch=prefetch)
    assert (ids([first]), ids(between), ids([second])) == ([0, 1], [0, 1, 2, 3, 4, 5], [2, 3])
    p.reset("iter")


@each_prefetch
def test_a14_next_batch_goes_on_after_run(prefetch):
    p = Dataset(6, MyBatch).p.ok()
    p.next_batch(2)
    p.run(3, n_epochs=2, prefetch=prefetch)
    assert ids([p.next_batch(2)]) == [2, 3]


@each_prefetch
def test_a14_a_run_under_way_is_not_disturbed_by_next_batch(prefetch):
    p = Dataset(6, MyBatch).p.ok()
    seen = []
    for batch in p.gen_batch(1, prefetch=prefetch):
        seen += ids([batch])
        p.next_batch(2)
    assert seen == [0, 1, 2, 3, 4, 5]


def test_a15_another_batch_size_at_a_later_next_batch_is_refused():
    p = Dataset(6, MyBatch).p.ok()
    p.next_batch(2)
    with pytest.raises(ValueError, match=r'reset\("iter"\)'):
        p.next_batch(3)


def test_a15_the_refused_call_takes_no_batch():
    p = Dataset(6, MyBatch).p.ok()
    p.next_batch(2)
    with pytest.raises(ValueError):
        p.next_batch(3)
    assert ids([p.next_batch(2)]) == [2, 3]


def test_a15_after_a_reset_another_batch_size_is_honoured():
    p = Dataset(6, MyBatch).p.ok()
    p.next_batch(2)
    p.reset("iter")
    assert ids([p.next_batch(3)]) == [0, 1, 2]


def test_a15_another_option_at_a_later_next_batch_is_refused():
    p = Dataset(6, MyBatch).p.ok()
    p.next_batch(2)
    with pytest.raises(ValueError, match=r'reset\("iter"\)'):
        p.next_batch(2, shuffle=True)


# ---- A16, A17: options

TYPOS = {"n_epoch": "n_epochs", "shufle": "shuffle", "prefetchh": "prefetch"}


@pytest.mark.parametrize("typo", TYPOS)
@pytest.mark.parametrize("method", ["run", "run_later", "gen_batch", "next_batch"])
def test_a16_an_option_with_a_typo_is_a_type_error_with_a_suggestion(method, typo):
    p = Dataset(6, MyBatch).p.ok()
    with pytest.raises(TypeError, match=f"{typo!r}.*Did you mean {TYPOS[typo]!r}"):
        getattr(p, method)(2, **{typo: 1})


@pytest.mark.parametrize("typo", TYPOS)
@pytest.mark.parametrize("method", ["gen_batch", "next_batch"])
def test_a16_a_dataset_refuses_an_option_with_a_typo_too(method, typo):
    with pytest.raises(TypeError, match=f"Did you mean {TYPOS[typo]!r}"):
        getattr(Dataset(6, MyBatch), method)(2, **{typo: 1})


def test_a16_reset_of_something_with_a_typo_is_a_value_error_with_a_suggestion():
    with pytest.raises(ValueError, match=r"'variabels'.*Did you mean 'variables'"):
        Dataset(6, MyBatch).p.ok().reset("variabels")


@each_prefetch
@pytest.mark.parametrize("options", [{}, {"n_epochs": 1}])
def test_a17_a_run_without_a_length_goes_through_the_items_once(prefetch, options):
    run = Dataset(6, MyBatch).p.ok().gen_batch(2, prefetch=prefetch, **options)
    assert ids(run) == [0, 1, 2, 3, 4, 5]


@each_prefetch
def test_a17_a_run_without_a_length_warns_of_nothing(prefetch):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        Dataset(6, MyBatch).p.ok().run(2, prefetch=prefetch)
    assert caught == []
