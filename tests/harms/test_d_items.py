"""Faults of an older batchflow, B10 and D5 to D8: work per item."""

import threading
import time

import numpy as np
import pytest

from batchflow import ArrayBatch, Batch, Dataset, action
from batchflow.batch import apply_parallel, inbatch_parallel
from batchflow.executors.item_threads import shutdown
from batchflow.testing import nothing_left

from .conftest import PREFETCH, run_program

TARGETS = ("threads", "processes", "async", "for")
each_target = pytest.mark.parametrize("target", TARGETS)


pytestmark = pytest.mark.usefixtures("no_pool_is_left")


class Items(ArrayBatch):
    components = "x", "y"

    @action
    @inbatch_parallel("indices", post="into_y")
    def see(self, item_id):
        return self.pipeline.v("scale") * item_id + len(self.dataset) + self.dataset.offset

    @action
    @inbatch_parallel("indices", post="into_y")
    def draw(self, item_id):
        return self.rng.normal()

    @apply_parallel
    def half(self, x):
        return x / 2

    @action
    @inbatch_parallel("indices")
    def fail(self, item_id):
        if item_id == 3:
            raise KeyError("boom")

    def into_y(self, results):
        self.y = results
        return self


class Offset(Dataset):
    offset = 1000


def pipeline(n_items=6):
    values = np.arange(float(n_items))
    dataset = Offset.from_arrays(Items, x=values, y=values)
    return dataset.p.init_variable("scale", 10)


# ---- B10: what an item can reach


@each_target
def test_b10_pipeline_and_dataset_are_reachable_in_every_target(target):
    batches = pipeline().see(target=target).gen_batch(3)
    assert [batch.y.tolist() for batch in batches] == [[1006, 1016, 1026], [1036, 1046, 1056]]


@each_target
@pytest.mark.parametrize("prefetch", PREFETCH)
def test_b10_randomness_is_the_same_in_every_target(target, prefetch):
    def draws(**options):
        run = pipeline().draw(target=options.pop("target")).gen_batch(2, seed=9, **options)
        return [batch.y.tolist() for batch in run]

    assert draws(target=target, prefetch=prefetch) == draws(target="for")


# ---- D5: the function sees only its own arguments


@each_target
def test_d5_a_numpy_function_can_be_applied(target):
    batch = pipeline().apply_parallel(np.sqrt, src="x", target=target).next_batch(5)
    assert np.array_equal(batch.x, np.sqrt(np.arange(5)))


@each_target
def test_d5_the_bare_decorator_works(target):
    batch = pipeline().half(src="x", target=target).next_batch(5)
    assert np.array_equal(batch.x, np.arange(5) / 2)


# ---- D6: a list is one item


class Texts(Batch):
    components = "tokens"

    @apply_parallel(src="tokens")
    def join(self, tokens):
        return "".join(tokens)

    @action
    @inbatch_parallel("tokens", post="counted")
    def count(self, tokens):
        return len(tokens)

    def counted(self, results):
        self.tokens = results
        return self


def texts():
    batch = Texts(2)
    batch.tokens = [["a", "b", "c"], ["d"]]
    return batch


@each_target
def test_d6_apply_parallel_gets_a_list_as_one_item(target):
    assert texts().join(target=target).tokens == ["abc", "d"]


@each_target
def test_d6_inbatch_parallel_gets_a_list_as_one_item(target):
    assert texts().count(target=target).tokens == [3, 1]


# ---- D7: a timeout is kept


@pytest.mark.parametrize("target", ["threads", "processes", "async"])
def test_d7_a_timeout_is_an_error_in_time(target):
    class Sleepy(Batch):
        @inbatch_parallel("indices")
        def nap(self, item_id):
            import time

            time.sleep(2)

        @inbatch_parallel("indices")
        async def doze(self, item_id):
            import asyncio

            await asyncio.sleep(2)

    batch = Sleepy(2)
    start = time.monotonic()
    with pytest.raises(TimeoutError, match=r"ids \[0, 1\]"):
        batch.doze(timeout=0.2) if target == "async" else batch.nap(timeout=0.2, target=target)
    assert time.monotonic() - start < 1.5


# ---- D8: the error of an item is raised


@each_target
def test_d8_the_error_arrives_with_the_item(target):
    with pytest.raises(KeyError, match="boom") as caught:
        pipeline().fail(target=target).run(3)
    assert "in the call of fail() for the item with the id 3" in caught.value.__notes__


@each_target
def test_d8_nothing_is_printed(target, capfd):
    with pytest.raises(KeyError):
        pipeline().fail(target=target).run(3)
    assert capfd.readouterr() == ("", "")


# ---- D13: pools are made once


def test_d13_threads_are_shared_by_batches_runs_and_actions():
    shutdown()
    with nothing_left():
        for _ in range(20):
            pipeline().draw().half(src="x").run(1, prefetch=2)
        ours = [t for t in threading.enumerate() if t.name.startswith("batchflow-items")]
        shutdown()
    assert len(ours) <= 32


# ---- A8: Ctrl-C


@pytest.mark.parametrize("prefetch", [0, 4])
@pytest.mark.parametrize("target", ["threads", "processes", "async", "for"])
def test_a8_ctrl_c_ends_a_run_at_work_on_items(target, prefetch):
    in_processes = target == "processes"  # which cannot say that they have begun
    begin = "pass" if in_processes else "begun.set()"
    program = run_program(
        f"""
        import asyncio
        from batchflow.batch import inbatch_parallel

        begun = threading.Event()

        def interrupt():
            begun.wait({1 if in_processes else 20})
            threading.Event().wait(0.2)
            os.kill(os.getpid(), signal.SIGINT)

        class Waiting(Batch):
            @action
            @inbatch_parallel("indices")
            def wait(self, item_id):
                import time
                {begin}
                time.sleep(3600)

            @action
            @inbatch_parallel("indices")
            async def sleep(self, item_id):
                {begin}
                await asyncio.sleep(3600)

        threading.Thread(target=interrupt, daemon=True).start()
        p = Dataset(100, Waiting).p
        p = p.sleep() if "{target}" == "async" else p.wait(target="{target}")
        try:
            p.run(4, prefetch={prefetch})
        except KeyboardInterrupt:
            print("interrupted")
        """
    )
    assert (program.returncode, program.stdout, program.stderr) == (0, "interrupted\n", "")
