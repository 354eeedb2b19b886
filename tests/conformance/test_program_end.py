"""A program ends with runs open in processes: at once, and nothing is left of them."""

import os
import time

import pytest
from own_process import finished
from unit.executors.waiting import runs, until

HELD_UP = 4.0  # seconds: it is a tenth of one; a wait for what does not come any more is 5

SCRIPT = """
import atexit, os, time
from batchflow import Dataset, shutdown

atexit.register(lambda: print("atexit", time.time(), flush=True))

def told(path):
    os.close(os.open(f"{path}/{os.getpid()}", os.O_CREAT))
    time.sleep(0.01)

pipeline = Dataset(400).p.call(told, FOLDER)
options = dict(executor="processes", n_workers=2)
"""

WAYS = {
    "a generator": """
run = pipeline.gen_batch(1, n_epochs=None, **options)
next(run)
""",
    "next_batch": """
pipeline.next_batch(1, **options)
""",
    "both": """
run = pipeline.gen_batch(1, n_epochs=None, **options)
next(run)
other = pipeline + pipeline
other.next_batch(2, **options)
""",
    "a cycle": """
def in_a_cycle():
    run = pipeline.gen_batch(1, n_epochs=None, **options)
    next(run)
    held = [run]
    held.append(held)
in_a_cycle()
""",
    "after shutdown": """
run = pipeline.gen_batch(1, n_epochs=None, **options)
next(run)
shutdown()
""",
    "closed when it is late": """
run = pipeline.gen_batch(1, n_epochs=None, **options)
next(run)
class Late:
    def __init__(self, run):
        self.run = run
    def __del__(self):
        self.run.close()
late = Late(run)
""",
    "begun when it is late": """
def late():
    try:
        next(pipeline.gen_batch(1, n_epochs=None, **options))
    except Exception as error:
        print(type(error).__name__, error, flush=True)
atexit.register(late)
run = pipeline.gen_batch(1, n_epochs=None, **options)
next(run)
""",
}


def shared():
    """Shared memory of the system; semaphores may come and go with other programs."""
    return {name for name in os.listdir("/dev/shm") if not name.startswith("sem.")}


@pytest.mark.parametrize("way", WAYS)
def test_open_runs_do_not_hold_up_the_exit(tmp_path, way):
    (tmp_path / "pids").mkdir()
    file = tmp_path / "program.py"
    body = SCRIPT.replace("FOLDER", repr(str(tmp_path / "pids"))) + WAYS[way]
    file.write_text(body + 'print("end", time.time(), flush=True)\n')
    before = shared()
    program = finished(["-W", "error", file], timeout=60)
    seconds = time.time() - float(program.stdout.partition("end ")[2].split()[0])
    assert program.returncode == 0
    assert program.stderr == ""
    assert seconds < HELD_UP
    workers = [int(path.name) for path in (tmp_path / "pids").iterdir()]
    assert workers
    assert not any(runs(worker) for worker in workers)
    until(lambda: shared() <= before)  # other tests come and go at the same time
    assert ("BatchflowError the program ends" in program.stdout) == (way == "begun when it is late")
