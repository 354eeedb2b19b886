"""The parts of a batch that are pickled, and those that a copy shares.

Guarantees:
    - A pickled batch is as big as its items: what it was made from and what it flows through are
      not in it.
    - A copy in this process keeps them.
"""

from __future__ import annotations

from typing import Any

from batchflow.errors import ArgumentTypeError

# The attributes that tie a batch to the process that it is in.
TIES = frozenset({"dataset", "pipeline", "_labels", "_loop"})


class Absent:
    """Stands for what is not in this process: who asks it for anything gets an error.

    Args:
        what: What it is, in words.
        why: The rest of the sentence, which says why it is not here.
    """

    def __init__(self, what: str, why: str) -> None:
        self._what, self._why = what, why

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise ArgumentTypeError(f"{self._what} {self._why}")

    def __repr__(self) -> str:
        return f"<{self._what}, which cannot travel>"


def without_ties(state: Any) -> Any:
    """Return the state that `object.__getstate__` has made of a batch, without its ties."""
    if isinstance(state, tuple):  # with slots
        held, slots = state
        return without_ties(held), slots
    return state and {name: value for name, value in state.items() if name not in TIES}


def shallow_copy(batch: Any) -> Any:
    """Make what `copy.copy` makes by default, the ties included."""
    make, args, *rest = batch.__reduce_ex__(4)
    twin = make(*args)
    twin.__setstate__(rest[0] if rest else None)
    twin.__dict__.update((name, batch.__dict__[name]) for name in TIES if name in batch.__dict__)
    return twin
