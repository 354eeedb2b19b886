"""Every way out leaves nothing."""

import gc
import os
import signal
import sys
import textwrap
import time

import pytest

from batchflow import ArgumentValueError, B, RunClosedError
from batchflow.testing import nothing_left

from .chains import BATCH, DEADLINE, make_dataset, training


def by_the_end(run):
    list(run)


def by_break(run):
    for _ in run:
        break


def by_close(run):
    next(run)
    run.close()
    run.close()


def by_an_exception(run):
    with pytest.raises(ZeroDivisionError):
        for _ in run:
            raise ZeroDivisionError


def by_the_collector(run):
    next(run)
    cycle = [run]
    cycle.append(cycle)
    del run, cycle
    gc.collect()


def before_the_first_batch(run):
    assert run.seed >= 0


WAYS = [by_the_end, by_break, by_close, by_an_exception, by_the_collector, before_the_first_batch]

SCRIPT = """
import sys
import threading
{imports}
from batchflow import ArrayBatch, Dataset, action, shutdown


class Slow(ArrayBatch):
    components = "x"

    @action
    def work(self):
        import time
        time.sleep(0.05)
        return self


def main():
    executor = {executor}
    pipeline = Dataset.from_arrays(Slow, x=list(range(10000))).p.work()
    try:
        for batch in pipeline.gen_batch(1, executor=executor, prefetch=4):
            print(batch.number, flush=True)
    except KeyboardInterrupt:
        left = [t.name for t in threading.enumerate() if t.name.startswith("batchflow-executor")]
        print("interrupted, left:", left, flush=True)
        raise


if __name__ == "__main__":
    main()
"""


class Endings:
    imports = ""
    leaving_nothing = staticmethod(nothing_left)

    @pytest.mark.parametrize("way", WAYS)
    def test_every_way_out_leaves_nothing(self, executor, way):
        by_the_end(training()[0].gen_batch(BATCH, executor=executor, prefetch=4))  # all is started
        with self.leaving_nothing():
            for _ in range(3):
                way(training()[0].gen_batch(BATCH, executor=executor, prefetch=4, n_epochs=2))
                by_the_end(training()[0].gen_batch(BATCH, executor=executor, prefetch=4))

    def test_after_a_break_the_state_is_that_of_the_last_batch(self, executor):
        pipeline, _ = training()
        for batch in pipeline.gen_batch(BATCH, executor=executor, prefetch=6):
            assert len(pipeline.v("history")) == batch.number + 1
            assert pipeline.m("momentum")["steps"] == batch.number + 1
            if batch.number == 4:
                break
        assert len(pipeline.v("history")) == 5

    def test_a_break_does_not_wait_for_long_work(self, executor, tmp_path):
        if executor == "serial":
            pytest.skip("nothing is at work")
        go = tmp_path / "go"
        pipeline = make_dataset().p.call(_waits_unless_first, str(go), B.number)
        run = pipeline.gen_batch(BATCH, executor=executor, prefetch=3)
        next(run)
        start = time.monotonic()
        run.close()
        seconds = time.monotonic() - start
        go.touch()
        assert seconds < 10  # the grace is 0.5

    def test_a_closed_run_says_so(self, executor):
        run = make_dataset().p.augment().gen_batch(BATCH, executor=executor, prefetch=2)
        next(run)
        run.close()
        with pytest.raises(RunClosedError):
            next(run)

    def test_the_next_run_works_after_an_error(self, executor):
        pipeline = make_dataset().p.at(3, ValueError)
        for _ in range(3):
            with pytest.raises(ValueError):
                pipeline.run(BATCH, executor=executor, prefetch=4)
        assert len(list(make_dataset().p.gen_batch(BATCH, executor=executor, prefetch=4))) == 9

    def test_without_read_ahead_it_is_refused(self, executor):
        if executor in ("serial", "threads"):
            list(make_dataset().p.gen_batch(BATCH, executor=executor, prefetch=0))
            return
        with pytest.raises(ArgumentValueError, match="prefetch=0 is to work in the consumer"):
            make_dataset().p.gen_batch(BATCH, executor=executor, prefetch=0)

    def test_ctrl_c_ends_the_program(self, started, tmp_path):
        script = tmp_path / "script.py"
        text = textwrap.dedent(SCRIPT).format(imports=self.imports, executor=self.script)
        script.write_text(text)
        path = os.pathsep.join(p for p in sys.path if p)
        process = started([script], env={**os.environ, "PYTHONPATH": path})
        assert process.stdout.readline() == "0\n"
        os.killpg(process.pid, signal.SIGINT)
        out, said = process.communicate(timeout=DEADLINE)
        assert "interrupted, left: []" in out, said[-2000:]
        assert "KeyboardInterrupt" in said
        assert process.returncode != 0


def _waits_unless_first(path, number):
    end = time.monotonic() + DEADLINE
    while number and not os.path.exists(path) and time.monotonic() < end:
        time.sleep(0.01)
