"""What the tests of worker processes wait with."""

import os
import time

DEADLINE = 60


def results(futures):
    return [future.result(DEADLINE) for future in futures]


def waits(path):
    """Give a function that tells that it has begun, and waits for a file."""

    def wait(item):
        (path / f"begun-{item}").touch()
        while not (path / "go").exists():
            time.sleep(0.005)
        return item, os.getpid()

    return wait


def until(condition):
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.005)


def runs(pid):
    """Tell whether a process lives and is more than an entry that its parent has not read yet."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def lives(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
