"""Signals that end a run when its batch is done: it is saved first.

Guarantees:
    - Handlers are set in the main thread alone, when the run begins, and put back when it ends.
    - A second signal does what it would have done without this; so does the first one behind the
      end of the run, also of one that was abandoned or ended while a later one went on.
"""

from __future__ import annotations

import os
import signal
import threading
import weakref
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

from batchflow.checkpoints.options import Preempted


class SignalWatch:
    """Notes signals, until the run asks for them.

    Args:
        names: Their names.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._before: dict[int, Any] = {}
        self._seen: int | None = None
        self._is_over = False
        if threading.current_thread() is not threading.main_thread():
            return
        self._note = _noting(weakref.ref(self), self._before)
        for name in names:
            number = getattr(signal, name)
            if signal.getsignal(number) in (signal.SIG_IGN, None):
                continue  # who started the program does not want it to end by that
            self._before[number] = signal.signal(number, self._note)
        weakref.finalize(self, _put_back, self._before, self._note).atexit = False

    @property
    def is_seen(self) -> bool:
        """Whether one has come."""
        return self._seen is not None

    def put_back(self) -> None:
        """Set the handlers that were there before."""
        self._is_over = True
        if self._before:
            _put_back(self._before, self._note)

    def follow(self, told: str) -> None:
        """Do what the signal asks for, now that the run is saved.

        Raises:
            KeyboardInterrupt: It was Ctrl-C.
            Preempted: It was another, whose handler, if there was one, has been called.
        """
        number, self._seen = self._seen, None
        self.put_back()
        if number is None:
            return
        handler = self._before.get(number)
        if callable(handler):
            handler(number, None)  # that of Ctrl-C raises KeyboardInterrupt
        name = signal.Signals(number).name
        raise Preempted(f"the run ended by {name}; {told}")


def _noting(watch: weakref.ref[SignalWatch], before: dict[int, Any]) -> Callable[..., None]:
    """Return a handler that lets a watch note the first signal, and passes on what it does not.

    It may stay set when its watch is over: a run that began later may have put it back.
    """

    def note(number: int, frame: FrameType | None) -> None:
        own = watch()
        if own is not None and own._seen is None and not own._is_over:
            own._seen = number
            return
        _put_back(before, note)
        handler = before.get(number, signal.SIG_DFL)
        if callable(handler):
            handler(number, frame)
            return
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    return note


def _put_back(before: dict[int, Any], note: Callable[..., None]) -> None:
    """Set the handlers that were there before, where `note` still is."""
    if threading.current_thread() is not threading.main_thread():
        return
    for number, handler in before.items():
        if signal.getsignal(number) is note:
            signal.signal(number, handler)
