"""Ranks that share an epoch: they begin at one step, whenever each of them starts."""

import json
import os
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from own_process import started

from batchflow import Keep
from batchflow.checkpoints.ranks import newest_of_ranks, opened, rank_folders
from batchflow.checkpoints.store import found
from batchflow.errors import BatchflowError


class Rank:
    """A rank that runs: it has begun, and saves."""

    def __init__(self, directory, rank, n_ranks=2, *, keep=None, anew=False, run="r", shuffle=1):
        keep = keep or Keep()
        self.store, saved = opened(str(directory), rank, n_ranks, keep, anew=anew)
        self.at = saved and saved.step
        self.facts = {"run_id": run, "cursor": {"fingerprint": {"shuffle": shuffle}}}

    def saves(self, *steps):
        for step in steps:
            self.store.save(step, partial(self.fill, f"step {step}"), self.facts)
            self.store.wait()
        return self

    @staticmethod
    def fill(text, folder):
        Path(folder, "a").write_text(text)

    def ends(self):
        self.store.close()


def both(directory, *steps, **options):
    """Let two ranks run one after the other, one batch ahead of each other at most."""
    ranks = [Rank(directory, rank, **options) for rank in range(2)]
    for step in steps:
        for rank in ranks:
            rank.saves(step)
    for rank in ranks:
        rank.ends()


def steps_in(directory, rank, n_ranks=2):
    return [step for step, _ in found(rank_folders(str(directory), n_ranks)[rank])]


def test_they_begin_at_the_newest_step_that_all_have(tmp_path):
    both(tmp_path, 10, 20)
    Rank(tmp_path, 1).saves(30, 40).ends()
    assert [Rank(tmp_path, rank).at for rank in range(2)] == [20, 20]


def test_one_that_starts_late_begins_where_the_others_did(tmp_path):
    both(tmp_path, 10, 20)
    Rank(tmp_path, 1).saves(30, 40).ends()
    first = Rank(tmp_path, 0)
    assert first.at == 20
    first.saves(30, 40)  # which rank 1 has, too, of the time before
    assert Rank(tmp_path, 1).at == 20


def test_one_that_starts_late_begins_anew_with_the_others(tmp_path):
    first = Rank(tmp_path, 0).saves(10)
    assert first.at is None
    late = Rank(tmp_path, 1).saves(10)
    assert late.at is None
    for rank in (first, late):
        rank.ends()
    both(tmp_path, 20)
    first = Rank(tmp_path, 0, anew=True)
    assert first.at is None
    assert Rank(tmp_path, 1).at is None


def test_a_rank_that_begins_anew_does_so_whatever_the_others_do(tmp_path):
    both(tmp_path, 10)
    first = Rank(tmp_path, 0)
    assert first.at == 10
    assert Rank(tmp_path, 1, anew=True).at is None


def test_one_that_is_killed_alone_goes_on_from_what_all_have_now(tmp_path):
    both(tmp_path, 10)
    first, second = Rank(tmp_path, 0), Rank(tmp_path, 1)
    first.saves(20, 30)
    second.saves(20)
    second.ends()
    assert Rank(tmp_path, 1).at == 20
    first.ends()
    assert Rank(tmp_path, 0).at == 20  # with the one that runs


def test_what_all_have_stays_however_far_one_is_ahead(tmp_path):
    keep = Keep(last=1)
    ranks = [Rank(tmp_path, rank, keep=keep).saves(10) for rank in range(2)]
    ranks[0].saves(20, 30, 40, 50)
    assert steps_in(tmp_path, 0) == [50, 20, 10]
    ranks[1].saves(20, 30)
    assert steps_in(tmp_path, 1) == [30, 20]
    ranks[1].saves(40, 50)
    ranks[0].saves(60)
    assert steps_in(tmp_path, 0) == [60, 50]
    for rank in ranks:
        rank.ends()
    assert newest_of_ranks(str(tmp_path), 0, 2)[0].step == 50


def test_one_that_is_far_ahead_waits_with_its_first_step_for_the_others(tmp_path):
    first, late = (Rank(tmp_path, rank, keep=Keep(last=1)) for rank in range(2))
    first.saves(10, 20, 30, 40)
    late.saves(5, 10)
    first.ends()
    late.ends()
    assert [Rank(tmp_path, rank).at for rank in range(2)] == [10, 10]


def test_ranks_that_start_at_once_begin_together(tmp_path):
    both(tmp_path, 10, 20)
    begun = []

    def begin(rank):
        begun.append(Rank(tmp_path, rank))

    threads = [threading.Thread(target=begin, args=(rank,)) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [rank.at for rank in begun] == [20, 20]
    told = [json.loads(Path(f, "began.json").read_text()) for f in rank_folders(str(tmp_path), 2)]
    assert told[0] == told[1] == {"start": 2, "step": 20, "of": 2}


def test_a_step_of_different_orders_is_left_out(tmp_path):
    both(tmp_path, 10, 20)
    Rank(tmp_path, 0, anew=True, run="other", shuffle=2).saves(20).ends()
    with pytest.warns(UserWarning, match="step 20 is of different orders"):
        assert newest_of_ranks(str(tmp_path), 0, 2) is None


def test_one_that_lacks_the_step_of_those_that_run_is_refused(tmp_path):
    both(tmp_path, 10)
    running = Rank(tmp_path, 0)
    Path(rank_folders(str(tmp_path), 2)[1], "step-000000000010", "a").write_text("other")
    with pytest.raises(
        BatchflowError, match=r"have begun at step 10, and rank 1 cannot: .*damaged"
    ):
        Rank(tmp_path, 1)
    running.ends()
    with pytest.warns(UserWarning, match="damaged"):
        assert Rank(tmp_path, 1).at is None


def test_another_number_of_ranks_and_back_again(tmp_path):
    both(tmp_path, 10)
    three = [Rank(tmp_path, rank, 3) for rank in range(3)]
    assert [rank.at for rank in three] == [10, 10, 10]
    for rank in three:
        rank.saves(20).ends()
    assert [Rank(tmp_path, rank).at for rank in range(2)] == [20, 20]


def test_another_run_of_another_number_is_not_gone_back_to(tmp_path):
    both(tmp_path, 100)
    for rank in range(3):
        Rank(tmp_path, rank, 3, anew=True, run="new").saves(20).ends()
    assert Rank(tmp_path, 0, 3).at == 20


def test_ranks_of_one_speed_save_by_time_at_steps_that_both_have():
    from batchflow.engine.resuming.saving import _is_round

    def saved(rng):
        steps, last = set(), 0
        for step in range(1, 20_000):
            if step - last >= rng.integers(990, 1010) and _is_round(step, step - last):
                steps.add(step)
                last = step
        return sorted(steps)

    one, other = (saved(np.random.default_rng(seed)) for seed in range(2))
    both = sorted({*one} & {*other})
    gaps = np.diff([0, *both])
    assert gaps.max() <= 4096
    assert np.diff([0, *one]).max() <= 2048


HOLDER = """
import os, sys, time
from batchflow.checkpoints.lock import DirectoryLock
lock = DirectoryLock(sys.argv[1])
if not os.fork():
    print("holds", flush=True)
    time.sleep(600)
os._exit(0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_child_that_its_holder_has_forked_does_not_keep_a_lock(tmp_path):
    from batchflow.checkpoints.lock import DirectoryLock, is_held

    with started(["-c", HOLDER, tmp_path]) as process:
        assert process.stdout.readline() == "holds\n"
        process.wait()
        assert not is_held(str(tmp_path))
        DirectoryLock(str(tmp_path)).close()
