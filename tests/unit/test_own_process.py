"""Programs that tests start: what is left of them, and whether Ctrl-C reaches them."""

import signal
import subprocess
import time
from pathlib import Path

import pytest
from own_process import can_be_interrupted, finished, started
from unit.executors.waiting import runs, until

FAMILY = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
time.sleep(600)
"""
TELL = "import signal; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"


def test_nothing_is_left_of_a_program_whose_test_fails():
    with pytest.raises(ZeroDivisionError), started(["-c", FAMILY]) as program:
        child = int(program.stdout.readline())
        assert runs(child)
        1 / 0  # noqa: B018
    assert program.returncode == -signal.SIGKILL
    until(lambda: not runs(child))


def test_nothing_is_left_of_a_program_that_takes_too_long():
    begun = time.monotonic()
    with pytest.raises(subprocess.TimeoutExpired):
        finished(["-c", FAMILY], timeout=0.5)
    assert time.monotonic() - begun < 60


@pytest.fixture
def ignored():
    """SIGINT is ignored, as by `nohup make test &`."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ignored")
def test_programs_can_be_interrupted_where_the_tests_cannot():
    assert finished(["-c", TELL]).stdout == "False\n"
    can_be_interrupted()
    assert finished(["-c", TELL]).stdout == "True\n"


def test_all_tests_start_programs_this_way():
    tests = Path(__file__).parents[1]
    starting = {p.name for p in tests.rglob("*.py") if "Popen(" in p.read_text()}
    assert starting == {"own_process.py", Path(__file__).name}
