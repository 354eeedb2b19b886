"""The options of a run as keywords of the methods that begin one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

from batchflow.engine.options import RunOptions
from batchflow.plan.expressions import Expression

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from batchflow.index.order import ShuffleLike

__all__ = ["RunKeywords", "shows_options"]

Method = TypeVar("Method", bound=Callable[..., Any])
# What follows from the others where it is not given.
_DEFAULTS: dict[str, Any] = {"prefetch": None, "n_workers": None}


class RunKeywords(TypedDict, total=False):
    """The keyword options of `run`, `gen_batch` and `next_batch`; see `RunOptions`."""

    shuffle: ShuffleLike
    n_epochs: int | None
    n_iters: int | None
    first_epoch: int
    drop_last: bool
    prefetch: int | None
    executor: str | Executor | Callable[[], Executor]
    target: str
    n_workers: int | None
    bar: bool | Expression | Sequence[Expression]
    seed: int | None


def shows_options(**defaults: Any) -> Callable[[Method], Method]:
    """Let `inspect.signature`, `help` and completion show the options that a method passes on.

    Args:
        defaults: Those that differ from the defaults of `run`.
    """
    known = {field.name: field.default for field in fields(RunOptions)} | _DEFAULTS | defaults
    options = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=known[name],
            annotation=getattr(hint, "__forward_arg__", hint),
        )
        for name, hint in RunKeywords.__annotations__.items()
        if name in known  # not so the old spelling of one
    ]

    def mark(method: Method) -> Method:
        signature = inspect.signature(method)
        *own, _ = signature.parameters.values()
        shown = signature.replace(parameters=[*own, *options])
        method.__signature__ = shown  # type: ignore[attr-defined]
        return method

    return mark
