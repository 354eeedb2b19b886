"""What the threads of a process wait for: a lock, or the interpreter (the GIL).

A thread sleeps a few milliseconds, again and again, and looks when it wakes. It is woken late where
another thread holds the interpreter: by at least 5 ms where that runs Python without a pause, by
next to nothing where NumPy works, which lets the interpreter go. The time that it waited for a CPU
is not counted, so other programs on the machine make no difference. Which steps wait for a lock
the frames of their threads tell.

Guarantees:
    - Looking takes about `_BUDGET` of one CPU, but for the first looks.
    - A process in which nothing is measured any more has no such thread.
"""

from __future__ import annotations

import dis
import functools
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Hashable, Mapping
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Protocol

from batchflow.engine.usage import run_delay
from batchflow.executors.item_threads import threads_at_work

_SLEEP = 0.004  # seconds
_LATE = 0.002
_BUDGET = 0.003
_SOON = 10  # looks without a pause
_IDLE = 1.0  # seconds without work behind which the thread ends

_PACKAGE = str(Path(__file__).parents[1]) + os.sep
# Calls that take a lock: of threads, and of files.
_TAKES = "acquire", "__enter__", "flock", "lockf"
# Where locks wait that are made of others: of threads, of processes, queues; and what is called.
_LOCKS = tuple(os.sep + name for name in ("threading.py", "synchronize.py", "queue.py"))
_WAYS_IN = "__enter__", "get", "put"


class Working(Protocol):
    """A call that is measured now, as `Recorder` has it."""

    key: Any
    is_ahead: bool
    timer: Any  # of the calls for items that it makes, or None


class Looks:
    """What was seen of the threads of a process, or of several processes.

    Attributes:
        n: How often it was looked while several threads were at work.
        n_late: How often the look came late then.
        working: How many threads were seen in each step.
        locked: How many of them waited for a lock.
    """

    def __init__(self) -> None:
        self.n = self.n_late = 0
        self.working: Counter[Hashable] = Counter()
        self.locked: Counter[Hashable] = Counter()

    def add(self, others: Looks) -> None:
        """Add what was seen elsewhere."""
        self.n += others.n
        self.n_late += others.n_late
        self.working += others.working
        self.locked += others.locked

    @property
    def share_late(self) -> float:
        """In which share of the looks the interpreter was held by somebody else."""
        return self.n_late / self.n if self.n else 0.0

    def share_locked(self, key: Hashable) -> float:
        """Which share of the threads in a step waited for a lock."""
        return self.locked[key] / self.working[key] if self.working[key] else 0.0


class WaitWatch:
    """Looks at the threads at work, in a thread of its own.

    Args:
        active: By thread, what is measured in it now.

    Attributes:
        looks: What was seen, and not taken.
    """

    def __init__(self, active: Mapping[int, Working]) -> None:
        self._active = active
        self._over = threading.Event()
        self._guard = threading.Lock()
        self._thread: threading.Thread | None = None
        self.looks = Looks()

    def begin(self) -> None:
        """Begin to look, if nobody does. The end comes by itself, or by `close`."""
        if self._thread is not None or self._over.is_set():
            return
        with self._guard:
            if self._thread is None:
                look = threading.Thread(target=self._look, name="batchflow-profile", daemon=True)
                self._thread = look
                look.start()

    def close(self) -> None:
        """End the thread; none begins any more."""
        self._over.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(1.0)

    def taken(self) -> Looks:
        """Return what was seen since the last time."""
        looks, self.looks = self.looks, Looks()
        return looks

    def _look(self) -> None:
        n_looks, last = 0, time.monotonic()
        while not self._over.is_set() and time.monotonic() - last < _IDLE:
            cpu, before, start = time.thread_time(), run_delay(), time.perf_counter()
            time.sleep(_SLEEP)
            late = time.perf_counter() - start - _SLEEP - (run_delay() - before)
            if self._note(is_late=late > _LATE):
                n_looks, last = n_looks + 1, time.monotonic()
            if n_looks > _SOON:
                self._over.wait((time.thread_time() - cpu) / _BUDGET)
        self._thread = None

    def _note(self, *, is_late: bool) -> bool:
        """Record what is seen now; tell whether something is at work."""
        ahead = {thread: f for thread, f in [*self._active.items()] if f.is_ahead}
        if not ahead:
            return False
        helpers = threads_at_work() - ahead.keys()
        looks, frames = self.looks, sys._current_frames()
        if len(ahead) + len(helpers) > 1:
            looks.n += 1
            looks.n_late += is_late
        seen = [(f.key, thread) for thread, f in ahead.items()]
        with_items = {f.key for f in ahead.values() if f.timer is not None}
        seen += [(key, thread) for key in with_items for thread in helpers]
        for key, thread in seen:
            looks.working[key] += 1
            frame = frames.get(thread)
            looks.locked[key] += frame is not None and waits_for_lock(frame)
        return True


def waits_for_lock(frame: FrameType) -> bool:
    """Check whether a thread of a user's action waits for a lock."""
    if _is_of(frame.f_code, _PACKAGE):
        return False  # the work for items is waited for
    if not frame.f_code.co_filename.endswith(_LOCKS) and _takes_lock(frame.f_code, frame.f_lasti):
        return True
    outer = frame.f_back
    while outer is not None and not _is_of(outer.f_code, _PACKAGE):  # an action has any name
        name = frame.f_code.co_name
        if name == "acquire" or (name in _WAYS_IN and frame.f_code.co_filename.endswith(_LOCKS)):
            return True
        frame, outer = outer, outer.f_back
    return False


def _is_of(code: CodeType, folder: str) -> bool:
    return code.co_filename.startswith(folder)


@functools.lru_cache(maxsize=512)
def _takes_lock(code: CodeType, offset: int) -> bool:
    """Check whether an instruction enters a `with` block, or calls what takes a lock."""
    instructions = list(dis.get_instructions(code))
    at = next((one for one in instructions if one.offset == offset), None)
    if at is None or at.opname == "BEFORE_WITH":
        return at is not None
    if not at.opname.startswith(("CALL", "PRECALL")) or at.positions is None:
        return False
    # A call and the name of what is called begin at one place.
    start = at.positions[:3:2]
    names = [one.argrepr for one in instructions if (one.positions or ())[:3:2] == start]
    return any(name in called for name in _TAKES for called in names)
