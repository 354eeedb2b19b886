"""How a worker process has ended, in words."""

from __future__ import annotations

import signal

__all__ = ["describe_exit"]


def describe_exit(code: int) -> str:
    """Say how a process has ended, by its exit code."""
    if code >= 0:
        return f"it ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    guess = {
        "SIGKILL": " (out of memory?)",
        "SIGSEGV": " (a crash in native code)",
        "SIGABRT": " (a crash in native code)",
        "SIGBUS": " (no memory left for what is shared?)",
    }
    return f"it was killed by {name}{guess.get(name, '')}"
