"""Signals that end a run when its batch is done: it is saved first.

Guarantees:
    - Handlers are set in the main thread alone, when the run begins, and put back when it ends.
    - A second signal does what it would have done without this.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Sequence
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
        if threading.current_thread() is not threading.main_thread():
            return
        for name in names:
            number = getattr(signal, name)
            if signal.getsignal(number) in (signal.SIG_IGN, None):
                continue  # who started the program does not want it to end by that
            self._before[number] = signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._seen is None:
            self._seen = number
            return
        self.put_back()
        handler = self._before.get(number, signal.SIG_DFL)
        if callable(handler):
            handler(number, frame)
        else:
            os.kill(os.getpid(), number)

    @property
    def is_seen(self) -> bool:
        """Whether one has come."""
        return self._seen is not None

    def put_back(self) -> None:
        """Set the handlers that were there before."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number, handler in self._before.items():
            if signal.getsignal(number) == self._note:
                signal.signal(number, handler)

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
