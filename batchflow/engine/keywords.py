"""The options of a run as keywords of the methods that begin one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypedDict, TypeVar

from batchflow.engine.options import RunOptions
from batchflow.plan.expressions import Expression

if TYPE_CHECKING:
    import os
    from concurrent.futures import Executor

    from batchflow.checkpoints import Checkpoint
    from batchflow.checkpoints.given import Tracker
    from batchflow.index.order import ShuffleLike

Method = TypeVar("Method", bound=Callable[..., Any])


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
    checkpoint: str | os.PathLike[str] | Checkpoint | None
    resume: Literal["auto", "never", "must"]
    changed: Literal["refuse", "allow"] | None
    state: Mapping[str, Any] | None
    track: str | os.PathLike[str] | Tracker | None
    profile: bool


def _options() -> list[inspect.Parameter]:
    known = {name: getattr(RunOptions, name, None) for name in RunOptions._fields}
    known |= dict.fromkeys(["prefetch", "n_workers"])  # they follow from others, if not given
    keyword = inspect.Parameter.KEYWORD_ONLY
    return [
        inspect.Parameter(name, keyword, default=known[name], annotation=hint.__forward_arg__)
        for name, hint in RunKeywords.__annotations__.items()
        if name in known  # not so the old spelling of one
    ]


_OPTIONS = _options()


def shows_options(**defaults: Any) -> Callable[[Method], Method]:
    """Let `inspect.signature`, `help` and completion show the options that a method passes on.

    Args:
        defaults: Those that differ from the defaults of `run`.
    """
    options = [
        option.replace(default=defaults[option.name]) if option.name in defaults else option
        for option in _OPTIONS
    ]

    def mark(method: Method) -> Method:
        signature = inspect.signature(method)
        *own, _ = signature.parameters.values()
        shown = signature.replace(parameters=[*own, *options])
        method.__signature__ = shown  # type: ignore[attr-defined]
        return method

    return mark
