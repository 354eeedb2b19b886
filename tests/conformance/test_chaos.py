"""Workers are killed, and the answer is the same; or it is said whose work kills them."""

import os
import signal
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, nullcontext

import pytest

import batchflow
from batchflow import WorkerDiedError
from batchflow.testing import nothing_left

from .chains import BATCH, make_dataset, told, with_history
from .chaos import Assassin, Murders, some_numbers, training_with
from .pools import a_fork_server, a_spawned_pool, loky_pool

N_ITEMS = 100


@contextmanager
def dask_cluster():
    distributed = pytest.importorskip("distributed")
    import dask

    # A local cluster of Dask closes a worker some time after it was lost, even if it is back.
    dask.config.set({"distributed.deploy.lost-worker-timeout": "1h"})
    settings = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with distributed.LocalCluster(**settings) as cluster, distributed.Client(cluster) as client:
        yield client.get_executor()


@contextmanager
def ray_cluster():
    pytest.importorskip("ray")
    yield "ray"
    batchflow.shutdown()


EXECUTORS = [
    pytest.param(lambda: nullcontext("processes"), id="processes"),
    pytest.param(a_spawned_pool, id="spawned"),
    pytest.param(a_fork_server, id="forkserver"),
    pytest.param(lambda: nullcontext(a_fork_server), id="function"),
    pytest.param(loky_pool, id="loky"),
    pytest.param(dask_cluster, id="dask", marks=pytest.mark.cluster),
    pytest.param(ray_cluster, id="ray", marks=pytest.mark.cluster),
]
each_of_two = pytest.mark.parametrize("executor", EXECUTORS[:2], indirect=True)
each_executor = pytest.mark.parametrize("executor", EXECUTORS, indirect=True)


@pytest.fixture
def executor(request):
    with request.param() as executor:
        yield executor


@pytest.fixture(scope="module")
def undisturbed():
    return told(*training_with(lambda number: None, N_ITEMS), prefetch=0, n_epochs=2)


def disturbed(executor, folder, seed, n_murders):
    """Run while workers die, some at their work, one at any time."""
    murders = Murders(folder, some_numbers(seed, N_ITEMS // BATCH, n_murders))
    with Assassin(murders, seed) as assassin:
        pipeline, keepers = training_with(murders.in_worker, N_ITEMS)
        answer = told(pipeline, keepers, executor=executor, prefetch=5, n_workers=2, n_epochs=2)
    assert not list(folder.glob("kill-*"))
    return answer, assassin.n_killed


@each_executor
def test_killed_workers_change_nothing(executor, undisturbed, tmp_path):
    answer, _ = disturbed(executor, tmp_path, seed=3, n_murders=1)
    assert answer == undisturbed


@pytest.mark.soak
@each_executor
def test_twenty_runs_with_killed_workers(executor, undisturbed, tmp_path):
    n_killed = 0
    for seed in range(20):
        folder = tmp_path / str(seed)
        folder.mkdir()
        answer, n_from_outside = disturbed(executor, folder, seed, n_murders=2)
        assert answer == undisturbed
        n_killed += n_from_outside
    assert n_killed


def dies(how, number):
    def work(at):
        if at == number:
            how()

    return work


def by_signal():
    os.kill(os.getpid(), signal.SIGKILL)


def by_exit():
    os._exit(3)


@each_executor
def test_who_kills_every_worker_is_named(executor):
    named(executor, by_signal)


@each_of_two
def test_who_ends_every_worker_is_named(executor):
    named(executor, by_exit)


def named(executor, how):
    pipeline, _ = training_with(dies(how, 6), N_ITEMS)
    numbers = []
    with pytest.raises(WorkerDiedError) as caught:
        for batch in pipeline.gen_batch(BATCH, executor=executor, prefetch=5, n_workers=2, seed=1):
            numbers.append(batch.number)
    assert numbers == [0, 1, 2, 3, 4, 5]
    assert len(pipeline.v("history")) == 6
    error = "\n".join([str(caught.value), *caught.value.__notes__])
    assert "batch 6, epoch 0, 4 items with the ids [24, 25, 26, 27]" in error
    assert "pipeline.replay(6, batch_size=4, seed=1)" in error
    assert 'executor="serial"' in error
    assert any(word in error for word in CAUSES[how]), error


# Where the executor does not tell what has become of its worker, at least that it has ended.
CAUSES = {
    by_signal: ["SIGKILL", "KilledWorker", "WorkerCrashedError"],
    by_exit: ["exit code 3", "EXIT(3)", "KilledWorker", "WorkerCrashedError"],
}


@each_of_two
def test_two_who_kill_are_told_one_from_the_other(executor):
    def work(number):
        if number in (3, 5):
            by_signal()

    pipeline, _ = training_with(work, N_ITEMS)
    numbers = []
    with pytest.raises(WorkerDiedError) as caught:
        for batch in pipeline.gen_batch(BATCH, executor=executor, prefetch=4, n_workers=2):
            numbers.append(batch.number)
    assert numbers == [0, 1, 2]
    assert any("batch 3" in note for note in caught.value.__notes__)


@pytest.mark.parametrize("executor", EXECUTORS[:4], indirect=True)
def test_after_deaths_nothing_is_left(executor, tmp_path):
    quiet = with_history(make_dataset().p.augment()).train()
    quiet.run(BATCH, executor=executor, prefetch=4, n_workers=2)
    with nothing_left():
        murders = Murders(tmp_path, [2])
        pipeline, _ = training_with(murders.in_worker)
        pipeline.run(BATCH, executor=executor, prefetch=4, n_workers=2)
        if isinstance(executor, ProcessPoolExecutor):
            executor.shutdown()  # what is broken is the user's still
    assert not list(tmp_path.glob("kill-*"))
