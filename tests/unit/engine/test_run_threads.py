"""One run, several threads: who reads and who closes."""

import threading

import pytest
from own_process import run_alone

from batchflow import Batch, BatchflowError, Dataset, RunClosedError, action

DEADLINE = 20


class Steps(Batch):
    @action
    def touch(self):
        return self

    @action
    def wait(self, event, at):
        if self.number == at:
            event.wait(DEADLINE)
        return self

    @action(singleton=True)
    def call_in_order(self, function):
        function()
        return self


@pytest.mark.parametrize("prefetch", [0, 3])
def test_threads_that_read_one_run_get_each_batch_once(prefetch):
    run = Dataset(200, Steps).p.touch().gen_batch(1, prefetch=prefetch)
    got, together = [], threading.Barrier(4, timeout=DEADLINE)

    def read():
        together.wait()
        for batch in run:
            got.append(batch.number)

    threads = [threading.Thread(target=read, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
    assert sorted(got) == list(range(200))


@pytest.mark.parametrize("prefetch", [0, 3])
def test_threads_that_share_next_batch_get_each_batch_once(prefetch):
    pipeline = Dataset(200, Steps).p.touch()
    got, together = [], threading.Barrier(4, timeout=DEADLINE)

    def read():
        together.wait()
        for _ in range(50):
            got.append(pipeline.next_batch(1, prefetch=prefetch).number)

    threads = [threading.Thread(target=read, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
    assert sorted(got) == list(range(200))


@pytest.mark.parametrize("prefetch", [0, 3])
def test_a_run_can_be_closed_by_another_thread(prefetch):
    go = threading.Event()
    run = Dataset(9, Steps).p.wait(go, at=1).gen_batch(1, prefetch=prefetch)
    next(run)
    closing = threading.Thread(target=run.close, daemon=True)
    closing.start()
    go.set()
    closing.join(DEADLINE)
    with pytest.raises(RunClosedError):
        next(run)


@pytest.mark.parametrize("what", [lambda run: run.close(), next], ids=["close", "read"])
def test_an_ordered_action_that_touches_its_own_run_is_refused(what):
    runs = []
    pipeline = Dataset(3, Steps).p.call_in_order(lambda: what(runs[0]))
    runs.append(pipeline.gen_batch(1, prefetch=2))
    with pytest.raises(BatchflowError, match="raise StopPipeline"):
        next(runs[0])


@pytest.mark.parametrize("what", ["runs[0].close()", "next(runs[0])"])
def test_a_parallel_action_that_touches_its_own_run_does_not_hang(what):
    script = f"""
        import threading
        from batchflow import Batch, Dataset, action
        from batchflow.testing import hand_over_every_batch

        runs = []

        class Steps(Batch):
            @action
            def touch_run(self):
                if self.number == 1:
                    {what}
                return self

        def read():
            runs.append(Dataset(4, Steps).p.touch_run().gen_batch(1, prefetch=2))
            try:
                list(runs[0])
            except Exception:
                pass

        with hand_over_every_batch():
            thread = threading.Thread(target=read, daemon=True)
            thread.start()
            thread.join(2)
        print(thread.is_alive())
    """
    assert run_alone(script, timeout=60).stdout.strip() == "False"
