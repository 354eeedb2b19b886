"""The chain: actions in a row over a dataset, a value. How it runs is in pipeline.py."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Self

from batchflow.engine import RunKeywords, Source
from batchflow.errors import ArgumentTypeError, ArgumentValueError, UnknownAttributeError
from batchflow.plan import BoundPlan, Config, Plan, Step, Variable, Where
from batchflow.plan.builtin import BUILTINS
from batchflow.plan.steps import unknown_action
from batchflow.plan.values import same_value

__all__ = ["Chain"]


class Chain:
    """A frozen chain of steps, with a dataset or without: what a `Pipeline` is as a value.

    Args:
        source: The dataset; None: a piece to be put over datasets later (`dataset >> pipeline`).
        config: Settings that `C("name")` reads.
    """

    __slots__ = ("__weakref__", "_ahead", "_plan", "_source")
    _source: Source | None
    _plan: Plan
    _ahead: tuple[int | None, RunKeywords] | None  # the options that `run_later` has set

    def __init__(
        self, source: Source | None = None, config: Mapping[str, Any] | None = None
    ) -> None:
        if source is not None and not _is_source(source):
            raise ArgumentTypeError(f"a pipeline is made over a dataset, got {source!r:.60}")
        self._set(source, Plan(config=Config(config)), None)

    def _set(self, source: Source | None, plan: Plan, ahead: Any) -> None:
        for name, value in {"_source": source, "_plan": plan, "_ahead": ahead}.items():
            object.__setattr__(self, name, value)

    @classmethod
    def _of(cls, source: Source | None, plan: Plan, ahead: Any = None) -> Self:
        chain = cls.__new__(cls)
        chain._set(source, plan, ahead)
        return chain

    @property
    def config(self) -> Config:
        """The settings that `C("name")` reads."""
        return self._plan.config

    @property
    def dataset(self) -> Any:
        """The dataset, or None."""
        return self._source

    # ---- chaining

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Give the function that chains the action called `name`."""
        if name.startswith("_"):
            raise AttributeError(f"Pipeline has no attribute {name!r}")
        where = Where.of_caller(1)
        source = self._source
        known: dict[str, Any] = {}
        if source is not None:
            known = {**BUILTINS, **source.batch_class._actions}
        if source is not None and name not in known:
            raise UnknownAttributeError(unknown_action(name, source.batch_class, where))

        def chain(*args: Any, **kwargs: Any) -> Any:
            step = Step(name, args, kwargs, Where.of_caller(1))
            if source is not None:
                step.bind(source.batch_class)
            return self._of(source, self._plan.with_step(step), self._ahead)

        chain.__name__ = chain.__qualname__ = name
        if source is not None:
            chain.__doc__ = known[name].function.__doc__
        return chain

    def __add__(self, other: Chain) -> Self:
        """Chain another pipeline's steps behind this one's.

        Raises:
            ArgumentValueError: They have different datasets.
        """
        if not isinstance(other, Chain):
            return NotImplemented
        mine, others = self._source, other._source
        if mine is not None and others is not None and mine is not others:
            raise ArgumentValueError(
                f"p + q: the pipelines have different datasets, {mine!r} and {others!r}; make one "
                "of them without a dataset: Pipeline().some_action()"
            )
        plan = self._plan + other._plan
        source = others if mine is None else mine
        if source is not None:
            plan.bind(source.batch_class)
        return self._of(source, plan, self._ahead or other._ahead)

    def __mul__(self, times: int) -> Self:
        """Repeat the steps: `pipeline * 3`."""
        if isinstance(times, bool) or not isinstance(times, int):
            return NotImplemented
        if times < 0:
            raise ArgumentValueError(f"pipeline * {times}: steps cannot be repeated {times} times")
        return self._of(self._source, self._plan * times, self._ahead)

    def __matmul__(self, probability: float) -> Self:
        """Go through the steps with a probability: `pipeline @ 0.5`.

        The coin is thrown once for each batch, by the batch's own generator.
        """
        if isinstance(probability, bool) or not isinstance(probability, (int, float)):
            return NotImplemented
        if not 0 <= probability <= 1:
            raise ArgumentValueError(
                f"pipeline @ {probability}: a probability is a number from 0 to 1"
            )
        plan = self._plan.with_chance(float(probability), Where.of_caller(1))
        return self._of(self._source, plan, self._ahead)

    def __lshift__(self, source: Source | Mapping[str, Any]) -> Self:
        """Give this chain over a dataset or with a config.

        `pipeline << dataset` is `dataset >> pipeline`; the entries of a config take the place of
        those that the pipeline has.
        """
        if isinstance(source, Mapping):
            plan = replace(self._plan, config=self._plan.config | source)
            return self._of(self._source, plan, self._ahead)
        if not _is_source(source):
            return NotImplemented
        self._plan.bind(source.batch_class)
        return self._of(source, self._plan, self._ahead)

    def __rrshift__(self, config: Mapping[str, Any]) -> Self:
        """Give this chain with a config: `config >> pipeline`."""
        return self << config if isinstance(config, Mapping) else NotImplemented

    def init_variable(
        self,
        name: str,
        default: Any = None,
        init: Callable[[], Any] | None = None,
        init_on_each_run: bool | Callable[[], Any] = False,
    ) -> Self:
        """Declare a variable.

        Args:
            name: Its name; `batch.pipeline.v(name)` gives its value in singleton actions.
            default: Its initial value. Each pipeline has a copy of its own.
            init: A function that makes the initial value, instead of `default`: `init=list`.
            init_on_each_run: Whether every run starts with the initial value again; or a function
                that makes it.

        Returns:
            A new pipeline.
        """
        if callable(init_on_each_run):
            if init is not None:
                raise ArgumentTypeError(
                    f"init_variable({name!r}): give one function, init or init_on_each_run"
                )
            init, init_on_each_run = init_on_each_run, True
        if not isinstance(init_on_each_run, bool):
            raise ArgumentTypeError(
                f"init_variable({name!r}): init_on_each_run is True, False or a function, got "
                f"{init_on_each_run!r:.60}"
            )
        variable = Variable(name, default, init, bool(init_on_each_run))
        return self._of(self._source, self._plan.with_variable(variable), self._ahead)

    # ---- being a value

    def __len__(self) -> int:
        """Give the number of steps."""
        return len(self._plan.steps)

    def __bool__(self) -> bool:
        return True

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Chain):
            return NotImplemented
        return (
            self._source is other._source
            and self._plan == other._plan
            and same_value(self._ahead, other._ahead)
        )

    def __hash__(self) -> int:
        return hash((id(self._source), self._plan))

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(
            f"a pipeline is a value: {name!r} cannot be assigned. Variables are declared with "
            "init_variable and assigned with set_variable"
        )

    def __copy__(self) -> Self:
        return self._of(self._source, self._plan, self._ahead)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self.__copy__()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self)._of, (self._source, self._plan, self._ahead)

    def __dir__(self) -> Iterable[str]:
        actions = () if self._source is None else self._source.batch_class._actions
        return sorted({*super().__dir__(), *BUILTINS, *actions})

    def __repr__(self) -> str:
        over = "no dataset" if self._source is None else repr(self._source)
        plan = self._plan
        if self._source is not None:
            steps = plan.bind(self._source.batch_class).describe()
        else:
            steps = "\n".join(f"{i:4d} {s}  at {s.where}" for i, s in enumerate(plan.steps))
        variables = ", ".join(variable.name for variable in plan.variables)
        head = f"<Pipeline over {over}{f'; variables {variables}' if variables else ''}>"
        return f"{head}\n{steps}" if steps else head

    # ---- inside

    def _bound(self) -> tuple[BoundPlan, Source]:
        if self._source is None:
            raise ArgumentTypeError(
                "this pipeline has no dataset to run over; give it one: dataset >> pipeline"
            )
        plan = self._plan.bind(self._source.batch_class)
        plan.check_variables()
        return plan, self._source


def _is_source(value: Any) -> bool:
    return not isinstance(value, (Chain, type)) and isinstance(
        getattr(value, "batch_class", None), type
    )
