"""The late value that is a variable of the pipeline: `V("name")`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batchflow.errors import ArgumentTypeError, ArgumentValueError
from batchflow.plan.expressions import Expression, freeze

if TYPE_CHECKING:
    from batchflow.batch import Batch

MODES = {
    "w": "w",
    "write": "w",
    "a": "a",
    "append": "a",
    "e": "e",
    "extend": "e",
    "u": "u",
    "update": "u",
}


class _ByName(type):
    """Makes `V.loss` of a class `V`: the same as `V("loss")`."""

    def __getattr__(cls, name: str) -> V:
        if name.startswith("_"):
            raise AttributeError(name)
        return cls(name)  # type: ignore[no-any-return]


class V(Expression, metaclass=_ByName):
    """`V("loss")`: a variable of the pipeline. Stored to, `mode` says how.

    `V.loss` is the same, but for the names `get`, `set`, `str` and `format`.

    Args:
        name: The name of the variable.
        mode: `"w"` writes, `"a"` appends to the list that it holds, `"e"` extends that list, `"u"`
            updates the dictionary or set that it holds.
    """

    __slots__ = ("_mode", "_name")
    _name: Any
    _mode: Any

    def __init__(self, name: Any, mode: Any = "w") -> None:
        if not isinstance(name, str):
            raise ArgumentTypeError(f"V() takes the name of a variable, got {name!r:.60}")
        if mode not in MODES:
            raise ArgumentValueError(
                f"V({name!r}, mode={mode!r}): the modes are w (write), a (append), e (extend) and "
                "u (update)"
            )
        freeze(self, _name=name, _mode=MODES[mode])

    def _resolve(self, batch: Batch) -> Any:
        return pipeline_of(batch, self).v(self._name)

    def _store(self, batch: Batch, value: Any) -> None:
        pipeline = pipeline_of(batch, self)
        if self._mode == "w":
            pipeline.set_variable(self._name, value)
            return
        method = {"a": "append", "e": "extend", "u": "update"}[self._mode]
        held = pipeline.v(self._name)
        if held is None:
            held = {} if self._mode == "u" else []
            pipeline.set_variable(self._name, held)
        if not hasattr(held, method):
            raise ArgumentTypeError(
                f"{self!r}: the variable holds a {type(held).__name__}, which has no {method}()"
            )
        getattr(held, method)(value)

    def _parts(self) -> tuple[Any, ...]:
        return self._name, self._mode

    def __repr__(self) -> Any:
        return f"V({self._name!r})" if self._mode == "w" else f"V({self._name!r}, {self._mode!r})"


def needed(batch: Batch | None, expression: Expression) -> Batch:
    """Return the batch; refuse an expression that needs one and has none."""
    if batch is None:
        raise ArgumentTypeError(f"{expression!r} needs a batch: {expression!r}.get(batch=...)")
    return batch


def pipeline_of(batch: Batch | None, expression: Expression) -> Any:
    """Return the pipeline of the batch; refuse an expression that needs one and has none."""
    pipeline = needed(batch, expression).pipeline
    if pipeline is None:
        raise ArgumentValueError(f"{expression!r} needs a pipeline, and the batch belongs to none")
    return pipeline
