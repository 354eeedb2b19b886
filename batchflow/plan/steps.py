"""One step of a chain, as it was written: data. Its meaning is looked up in binding.py."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from batchflow.plan.expressions import shown
from batchflow.plan.values import Value

HookName = Literal["once", "before", "after"]


class Where(NamedTuple):
    """The place in a user's code where a step was chained.

    Attributes:
        file: The file; or the cell of a notebook, as IPython names it: `In[3]`.
        line: The line in it.
        is_cell: Whether it is a cell.
    """

    file: str
    line: int
    is_cell: bool = False

    @classmethod
    def of_caller(cls, depth: int) -> Where:
        """Return the place of the caller `depth` frames above the function that calls this."""
        frame = sys._getframe(depth + 1)
        file, line = frame.f_code.co_filename, frame.f_lineno
        cell = _cell_of(file)
        return cls(file, line) if cell is None else cls(cell, line, is_cell=True)

    def __str__(self) -> str:
        return f"{self.file}, line {self.line}" if self.is_cell else f"{self.file}:{self.line}"


def _cell_of(file: str) -> str | None:
    """Return how IPython names the cell whose code has this file name; None if it is no cell."""
    ipython = sys.modules.get("IPython")
    try:
        kind, name = ipython.get_ipython().compile.format_code_name(file)  # type: ignore[union-attr]
    except (AttributeError, TypeError):  # no IPython, none that runs, or no cell of it
        return None
    return str(name) if kind == "Cell" else None


_NOWHERE = Where("<unknown>", 0)
NO_NAMED: Mapping[str, Any] = {}


class Step(Value):
    """A call of an action, as it was chained: a value.

    Attributes:
        name: The action.
        args: Its positional arguments.
        kwargs: Its keyword arguments.
        where: Where it was chained; not compared.
    """

    name: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = NO_NAMED
    where: Where = _NOWHERE

    def __str__(self) -> str:
        arguments = [shown(value) for value in self.args]
        arguments += [f"{key}={shown(value)}" for key, value in self.kwargs.items()]
        return f"{self.name}({', '.join(arguments)})"


class Chance(Value):
    """Steps that a batch goes through with a probability: `pipeline @ 0.5`.

    Attributes:
        steps: The steps.
        probability: From 0 to 1. The coin is thrown once per batch, by the batch's generator.
        where: Where it was chained; not compared.
    """

    steps: tuple[Step | Chance, ...]
    probability: float
    where: Where = _NOWHERE

    def __str__(self) -> str:
        return f"({'; '.join(map(str, self.steps))}) @ {self.probability:g}"

    @property
    def name(self) -> str:
        """How it is called in messages."""
        return f"@ {self.probability:g}"


class Hooks(NamedTuple):
    """The steps outside of the stream of batches, by the moment at which they are taken.

    Attributes:
        once: At the start of the first run of a pipeline value.
        before: At the start of every run, before its first batch.
        after: At the end of every run, however it ends.
    """

    once: tuple[Any, ...] = ()
    before: tuple[Any, ...] = ()
    after: tuple[Any, ...] = ()

    def lines(self) -> tuple[list[str], list[str]]:
        """Return a line for each step: of those before the batches, and of those after them."""
        once, before, after = (
            [f"{moment} {step}  at {step.where}" for step in steps]
            for moment, steps in self._asdict().items()
        )
        return once + before, after


NO_HOOKS = Hooks()
