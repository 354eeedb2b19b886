"""Steps before the first batch and after the last: how they are chained."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from batchflow.plan import Step, Where
from batchflow.plan.plan import Moment

if TYPE_CHECKING:
    from batchflow.chain import Chain

__all__ = ["HookChain"]

# What a chain does at these moments by a step, though in the stream of batches by a declaration.
_STEPS = {"load_model"}
_DECLARATIONS = ("init_", "delete_", "add_", "import_")


class HookChain:
    """A pipeline to which steps before or after the batches are chained.

    Each step gives another one; `main`, `before`, `after` and `once` say where the next goes. What
    a pipeline does (run, variables, `+`), it does as well.
    """

    __slots__ = ("_moment", "main")
    main: Chain

    def __init__(self, main: Chain, moment: Moment) -> None:
        object.__setattr__(self, "main", main)
        object.__setattr__(self, "_moment", moment)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name.startswith("_") or (hasattr(type(self.main), name) and name not in _STEPS):
            value = getattr(self.main, name)
            return self._kept(value) if name.startswith(_DECLARATIONS) else value
        self.main._chaining(name, self._moment, Where.of_caller(1))  # refuses an unknown name

        def chain(*args: Any, **kwargs: Any) -> HookChain:
            step = Step(name, args, kwargs, Where.of_caller(1))
            return HookChain(self.main._with_step(step, self._moment), self._moment)

        return chain

    def _kept(self, chain: Callable[..., Any]) -> Callable[..., HookChain]:
        def chain_here(*args: Any, **kwargs: Any) -> HookChain:
            return HookChain(chain(*args, **kwargs), self._moment)

        return chain_here

    def __add__(self, other: Chain | HookChain) -> Chain:
        return self.main + (other.main if isinstance(other, HookChain) else other)

    def __radd__(self, other: Chain) -> Any:
        return other + self.main

    def __lshift__(self, source: Any) -> Any:
        return self.main << source

    __rrshift__ = __lshift__

    def __iter__(self) -> Any:
        return iter(self.main)

    def __len__(self) -> int:
        return len(self.main)

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return repr(self.main)
