"""What the threads of a run wait for: a lock, or the interpreter (the GIL).

A thread sleeps a few milliseconds, again and again, and looks when it wakes. It is woken late where
another thread holds the interpreter: by at least 5 ms where that runs Python without a pause, by
next to nothing where NumPy works, which lets the interpreter go. The time that it waited for a CPU
is not counted, so other programs on the machine make no difference. Which steps wait for a lock
the frames of their threads tell.
"""

from __future__ import annotations

import dis
import functools
import os
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from types import CodeType, FrameType

from batchflow.engine.timing import CallKey, Recorder
from batchflow.engine.usage import run_delay

_SLEEP = 0.004  # seconds
_LATE = 0.002

_PACKAGE = str(Path(__file__).parents[1]) + os.sep
# Where locks of the standard library wait that are made of others.
_LOCKS = (threading.__file__, sys.modules["queue"].__file__ if "queue" in sys.modules else None)


class WaitWatch:
    """Looks at the threads at work for a run, in a thread of its own.

    Args:
        recorder: Knows which threads are at work.

    Attributes:
        n_looks: How often it has looked while several threads were at work.
        n_late: How often it was woken late then.
        working: How many threads were seen in each step.
        locked: How many of them waited for a lock.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._over = threading.Event()
        self.n_looks = self.n_late = 0
        self.working: Counter[CallKey] = Counter()
        self.locked: Counter[CallKey] = Counter()
        self._thread = threading.Thread(target=self._look, name="batchflow-profile", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._over.set()
        self._thread.join(1.0)

    def _look(self) -> None:
        while not self._over.is_set():
            before, start = run_delay(), time.perf_counter()
            time.sleep(_SLEEP)
            late = time.perf_counter() - start - _SLEEP - (run_delay() - before)
            ahead = {t: f[0] for t, f in list(self._recorder.active.items()) if f[4]}
            if len(ahead) > 1:
                self.n_looks += 1
                self.n_late += late > _LATE
                self._note(ahead)

    def _note(self, ahead: dict[int, CallKey]) -> None:
        frames = sys._current_frames()
        for thread, key in ahead.items():
            self.working[key] += 1
            frame = frames.get(thread)
            if frame is not None and waits_for_lock(frame):
                self.locked[key] += 1

    @property
    def share_late(self) -> float:
        """In which share of the looks the interpreter was held by somebody else."""
        return self.n_late / self.n_looks if self.n_looks else 0.0

    def share_locked(self, key: CallKey) -> float:
        """Which share of the threads in a step waited for a lock."""
        return self.locked[key] / self.working[key] if self.working[key] else 0.0


def waits_for_lock(frame: FrameType) -> bool:
    """Check whether a thread of a user's action waits for a lock."""
    own: FrameType | None = frame
    while own is not None and own.f_code.co_filename in _LOCKS:
        own = own.f_back  # a condition or a semaphore waits for a lock of its own
    if own is None or own.f_code.co_filename.startswith(_PACKAGE):
        return False  # the work for items is waited for
    return own is not frame or _takes_lock(frame.f_code, frame.f_lasti)


@functools.lru_cache(maxsize=512)
def _takes_lock(code: CodeType, offset: int) -> bool:
    """Check whether the instruction at an offset enters a `with` block or calls `acquire`."""
    called = ""
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("LOAD_METHOD", "LOAD_ATTR", "LOAD_SPECIAL", "LOAD_GLOBAL"):
            called = str(instruction.argrepr)
        if instruction.offset == offset:
            if instruction.opname == "BEFORE_WITH":
                return True
            return instruction.opname.startswith("CALL") and (
                "acquire" in called or "__enter__" in called
            )
    return False
