"""Stubs: ordered actions and model definitions stay in the main process.

A class of a script or a notebook travels by value, with everything that its functions mention. But
ordered actions and model definitions are the consumer's work, and what they mention, such as Keras,
need not be imported in workers, or be able to travel. So stubs travel in their place.

Guarantees:
    - In a worker process a parallel action that calls an ordered action, or asks for a model, is
      refused, whether its class has travelled by value or was imported there.
    - Everything else of a class travels as it is.
"""

from __future__ import annotations

import functools
import sys
import threading
import types
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NoReturn

from batchflow.batch import Batch
from batchflow.batch.actions import ActionSpec, spec_of
from batchflow.batch.directory import ModelDefinition, in_parallel
from batchflow.errors import ArgumentTypeError


def stubs_for(batch_classes: Iterable[type[Batch]]) -> Callable[[Any], tuple[Any, ...] | None]:
    """Return a function that reduces a value to its stub for a pickler; None: it has no stub.

    Args:
        batch_classes: The classes of the batches of a run.
    """
    # A method that overrides an ordered action without a mark of its own is ordered, too.
    overriding = {id(f): spec for cls in batch_classes for _, f, spec in _ordered_of(cls)}

    def stub_of(value: Any) -> tuple[Any, ...] | None:
        if isinstance(value, ModelDefinition):
            return _absent_model, (value.name, value.mode, value.__doc__)
        if isinstance(value, types.FunctionType):
            spec = overriding.get(id(value)) or spec_of(value)
            if spec is not None and _is_ordered(spec):
                return _OrderedAction, (value.__qualname__, spec)
        return None

    return stub_of


def guard_ordered(cls: type[Batch]) -> None:
    """Let the ordered actions of a class refuse parallel actions, in a worker process.

    Where the class was imported it has its functions. For calls that are not part of a parallel
    action, such as per-item work of an ordered action, they stay what they are.
    """
    for name, _, spec in _ordered_of(cls):
        for owner in cls.__mro__:
            function = vars(owner).get(name)
            if isinstance(function, types.FunctionType):
                setattr(owner, name, _OrderedAction(function.__qualname__, spec, function))


@contextmanager
def ordered_calls(cls: type[Batch]) -> Iterator[set[str]]:
    """Watch for calls of the ordered actions of a class: in this thread, and in coroutines.

    Yields:
        The names of those that were called; it grows inside the `with` statement.
    """
    called: set[str] = set()
    names = {function.__code__: name for name, function, _ in _ordered_of(cls)}
    token = _watched.set((names, called))
    before, before_threads = sys.getprofile(), threading.getprofile()
    sys.setprofile(_see)
    threading.setprofile(_see)  # for that of the event loop, which begins with the first coroutine
    try:
        yield called
    finally:
        threading.setprofile(before_threads)
        sys.setprofile(before)
        _watched.reset(token)


# The ordered actions to watch for, by their code, and the names of those that were called. A task
# of the event loop has the context of the step that it belongs to.
_watched: ContextVar[tuple[dict[types.CodeType, str], set[str]] | None] = ContextVar(
    "ordered_calls", default=None
)


def _see(frame: types.FrameType, event: str, _: Any) -> None:
    watched = _watched.get()
    if event == "call" and watched is not None and frame.f_code in watched[0]:
        watched[1].add(watched[0][frame.f_code])


def refuse_model(name: str, batch: Any = None) -> NoReturn:  # noqa: ARG001  as a model is asked for
    """Refuse to make a model in a worker process."""
    raise ArgumentTypeError(f"the model {name!r} is not here: it stays with its process")


def _ordered_of(cls: type[Batch]) -> Iterator[tuple[str, Any, ActionSpec]]:
    """Yield name, function and spec of each ordered action of a class."""
    for name, function, spec in cls._actions.values():
        if _is_ordered(spec):
            yield name, function, spec


def _is_ordered(spec: ActionSpec) -> bool:
    return spec.singleton or spec.model is not None


def _absent_model(name: str, mode: Any, doc: str | None) -> ModelDefinition:
    function: Any = functools.partial(refuse_model, name)
    function.__name__, function.__doc__ = name, doc
    return ModelDefinition(function, mode)


class _OrderedAction:
    """Stands in a worker process for an ordered action: refuses to be called.

    Args:
        name: That of the action, with its class.
        spec: What `@action` was told.
        function: The action, where it is at hand: for calls that no parallel action makes.
    """

    def __init__(self, name: str, spec: ActionSpec, function: Any = None) -> None:
        self._name = name
        self._batchflow_action = spec
        self._function = function

    def __get__(self, batch: Any, owner: type) -> Any:
        if self._function is None or in_parallel.get():
            return self
        return self._function.__get__(batch, owner)

    def __call__(self, *_: Any, **__: Any) -> NoReturn:
        model = self._batchflow_action.model
        mark = f'@action(model="{model}", singleton=True)' if model else "@action(singleton=True)"
        raise ArgumentTypeError(
            f"{self._name} is not here: ordered actions stay in the main process, and a parallel "
            f"action has called it in a worker process. Let that be an ordered action, {mark}, or "
            "run in threads"
        )
