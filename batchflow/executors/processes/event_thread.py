"""A thread that owns some state: other threads post functions to it, sockets wake it up.

    any thread: post(function, ...) ---> the thread: function(...), then one turn

Guarantees:
    - What is posted is done in order, by the thread; nobody else touches its state.
    - The thread starts when something is posted and ends when nothing is left to do.
    - `post` neither waits nor deadlocks, whatever thread calls it, a finalizer as well.
"""

from __future__ import annotations

import selectors
import signal
import socket
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any


class EventLoopThread(ABC):
    """The thread, and the sockets that wake it up.

    Args:
        name: Its name.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._posted: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        # Reentrant: the collector may finalize a run, which posts, in a thread that is posting.
        self._guard = threading.RLock()
        self._thread: threading.Thread | None = None
        self._is_awake = False

    @property
    def is_running(self) -> bool:
        """Whether there is such a thread now."""
        return self._thread is not None

    def post(self, function: Callable[..., None], *args: Any) -> None:
        """Make the thread call a function. It is started if it does not run."""
        with self._guard:
            self._posted.append((function, args))
            if self._thread is None:
                self._open()
            elif not self._is_awake:
                self._is_awake = True
                try:  # without `suppress`, which costs three calls for each task
                    self._wakeup_send.send(b"!")
                except OSError:  # it is full, so the thread wakes up all the same
                    return

    def wait_for(self, event: threading.Event, seconds: float) -> None:
        """Wait for an event that the thread will set, unless this is the thread."""
        if self._thread is not threading.current_thread():
            event.wait(seconds)

    def join(self, seconds: float) -> None:
        """Wait until the thread has ended, unless this is the thread."""
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(seconds)

    def abandon(self) -> None:
        """Close the files in a forked process, where the thread is not."""
        if self._thread is not None:
            self._close()

    # ---- what the thread does

    @abstractmethod
    def _turn(self) -> float:
        """Do what can be done; return the seconds after which to be called again at the latest."""

    @abstractmethod
    def _heard(self, held: Any, events: int) -> None:
        """Read from a socket, or write to it; `held` is what it was registered with."""

    @abstractmethod
    def _is_done(self) -> bool:
        """Check whether nothing is left to do."""

    @abstractmethod
    def _collapse(self, error: BaseException, posted: Sequence[Any]) -> None:
        """End all futures and waits: the thread ends by an error. `posted` was not called."""

    def _watch(self, connection: socket.socket, *, also_room: bool) -> None:
        """Call `_heard` also, or no more, when a socket has room."""
        key = self._selector.get_key(connection)
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if also_room else 0)
        if key.events != events:
            self._selector.modify(connection, events, key.data)

    # ---- the thread

    def _open(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._wakeup_recv, self._wakeup_send = socket.socketpair()
        self._wakeup_recv.setblocking(False)
        self._wakeup_send.setblocking(False)
        self._selector.register(self._wakeup_recv, selectors.EVENT_READ)
        self._is_awake = True
        self._thread = threading.Thread(target=self._serve, name=self._name, daemon=True)
        self._thread.start()

    def _close(self) -> None:
        self._thread = None
        self._selector.close()
        self._wakeup_recv.close()
        self._wakeup_send.close()

    def _serve(self) -> None:
        # Processes that it starts inherit its mask: there is no moment in which a Ctrl-C, which a
        # terminal sends to all processes of a program, would end one.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            while not self._ends():
                self._serve_once()
        except BaseException as error:  # a mistake must not leave anybody waiting
            with self._guard:
                posted = [value for _, args in self._posted for value in args]
                self._posted.clear()
                try:
                    self._collapse(error, posted)
                finally:
                    self._close()

    def _ends(self) -> bool:
        with self._guard:
            if self._posted or not self._is_done():
                return False
            self._close()
            return True

    def _serve_once(self) -> None:
        while self._posted:
            function, args = self._posted.popleft()
            function(*args)
            del function, args
        seconds = self._turn()
        self._is_awake = False
        for key, events in self._selector.select(0 if self._posted else seconds):
            if key.data is not None:
                self._heard(key.data, events)
            else:
                with suppress(BlockingIOError):
                    self._wakeup_recv.recv(4096)
        self._is_awake = True
