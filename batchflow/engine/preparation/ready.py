"""Steps with everything that they need in a run: models, joined batches, an event loop."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import combinations
from typing import TYPE_CHECKING, Any

from batchflow.batch import Batch
from batchflow.engine.preparation.arguments import arguments_of, awaited, make_step, with_chance
from batchflow.engine.steps import ReadyStep, ReplayNote
from batchflow.errors import ArgumentValueError, SkipBatch
from batchflow.models.adapters import adapter_of, harmed_in_threads, models_in
from batchflow.models.tf1 import initialize_sessions
from batchflow.plan import Bound, BoundChance, BoundStep, Joined
from batchflow.plan.builtin import call
from batchflow.plan.model_steps import evaluate_model, predict_model

if TYPE_CHECKING:
    from batchflow.engine.preparation.grouped import Phase

# From a batch to the batch of another pipeline with the same ids; None if that is skipped.
JoinedTo = Callable[[Batch], Batch | None]
# From a step and the function of its calls to one that measures them.
Timed = Callable[[Any, Callable[..., Any]], Callable[..., Any]]


class ReadySteps:
    """The steps of a plan, made ready in the thread that starts the run.

    Args:
        steps: The steps.
        model_of: Returns a model by its name; a dynamic one for a batch. Static ones are made now.
        joined: By the id of a `Joined`, what makes the joined batches.
        loop: The event loop for coroutines, or None.
        replay_note: See `run_steps`.
        timed: Makes measured calls of those of a step; None: nobody measures.
    """

    def __init__(
        self,
        steps: Iterable[BoundStep | BoundChance],
        model_of: Callable[..., Any],
        joined: Mapping[int, JoinedTo],
        loop: Any,
        replay_note: ReplayNote,
        timed: Timed | None = None,
    ) -> None:
        bound_steps = list(steps)
        leaves = [leaf for bound in bound_steps for leaf in bound.leaves]
        self._model_of = model_of
        self._joined = joined
        self._loop = loop
        self._replay_note = replay_note
        self._timed = timed
        static = {leaf.model: None for leaf in leaves if not (leaf.model is None or leaf.dynamic)}
        self._endings: list[Callable[[bool], None]] = []  # of models that watch the run
        self._descriptors = {name: self._watched(model_of(name)) for name in static}
        self._steps = {id(bound): self._ready(bound) for bound in bound_steps}
        initialize_sessions(
            value
            for bound in leaves
            if bound.model is not None
            for value in (*bound.args, *bound.kwargs.values())
        )

    def end(self, failed: bool) -> None:
        """Tell the models that watch the run of its end, and whether an error has ended it."""
        while self._endings:
            self._endings.pop()(failed)

    def _watched(self, descriptor: Any) -> Any:
        """Let a model, or those in a list, tuple or dictionary, watch the run; return it."""
        for part in models_in(descriptor):
            if (ending := adapter_of(part).watch()) is not None:
                self._endings.append(ending)
        return descriptor

    def of(self, steps: Iterable[Bound]) -> list[ReadyStep]:
        """Return some of the steps."""
        return [self._steps[id(bound)] for bound in steps]

    def phases_of(self, steps: Sequence[Bound]) -> list[Phase]:
        """Return the steps of an ordered section, cut behind those that take several batches."""
        from batchflow.engine.preparation.grouped import GroupedStep, Phase  # on use

        phases: list[Phase] = []
        first = 0
        leaves = [leaf for bound in steps for leaf in bound.leaves]
        self._refuse_shared_weights([leaf for leaf in leaves if leaf.model is not None])
        for place, bound in enumerate(steps):
            if isinstance(bound, BoundStep) and bound.group > 1:
                arguments = arguments_of(bound, tuple(map(self._with_joined, bound.args)))
                own = bound if self._timed is None else _measured(bound, self._timed)
                grouped = GroupedStep(own, arguments, self._model_for(bound))  # type: ignore[arg-type]
                phases.append(Phase(self.of(steps[first:place]), grouped))
                first = place + 1
        return [*phases, Phase(self.of(steps[first:]), None)]

    def _refuse_shared_weights(self, leaves: Sequence[BoundStep]) -> None:
        """Refuse models of different names that are one, or have variables in common."""
        known = {leaf.model: leaf for leaf in leaves if leaf.model in self._descriptors}
        for one, other in combinations(known.values(), 2):
            models = [self._descriptors[leaf.model] for leaf in (one, other)]  # type: ignore[index]
            if adapter_of(models[0]).shares_state(models[1]):
                grouped = next(leaf for leaf in leaves if leaf.group > 1)
                raise ArgumentValueError(
                    f"{grouped.step}, chained at {grouped.step.where}, takes {grouped.group} "
                    f"batches in one call, and the models {one.model!r} and {other.model!r} of "
                    "this section have weights in common; leave steps_per_call out"
                )

    def _model_for(self, bound: BoundStep) -> Callable[[Batch], Any] | None:
        """Make a function from a batch to the step's model; None if it has no model."""
        name = bound.model
        if name is None:
            return None
        if bound.dynamic:
            given = (*bound.args, *bound.kwargs.values())
            return _dynamic(partial(self._model_of, name), self._watched, given)
        descriptor = self._descriptors[name]
        return lambda _: descriptor

    def warn_of_concurrent_training(self, steps: Sequence[Bound]) -> None:
        """Warn of steps that several threads take on a model that this harms."""
        for bound in _with_model(steps):
            if bound.function is predict_model:
                continue
            harmed = harmed_in_threads(self._descriptors[bound.model], bound.model)
            if harmed is not None:
                warnings.warn(
                    f"the action {bound.step.name!r} works on the {harmed} in several threads at "
                    "once, which loses updates or breaks the model. Mark it "
                    f'@action(model="{bound.model}", singleton=True)',
                    stacklevel=2,
                )

    def predictions(self, steps: Sequence[Bound]) -> list[tuple[BoundStep, Any]]:
        """Return those of some steps that predict by a model that is there, and the model."""
        return [
            (leaf, self._descriptors[leaf.model])
            for leaf in _with_model(steps)
            if leaf.function is predict_model and not leaf.dynamic
        ]

    def warn_of_stale_weights(
        self, predictions: Sequence[tuple[BoundStep, Any]], section: Sequence[Bound]
    ) -> None:
        """Warn of predictions ahead of the section by weights that a step in it trains.

        Models of one name are ordered by the plan of a pipeline. That another pipeline, which is
        merged or joined, predicts by one of them, or that two have weights in common, as the
        networks of a GAN have, is seen only where the models are there.
        """
        training = [
            (leaf, models_in(self._descriptors[leaf.model]))
            for leaf in _with_model(section)
            if not leaf.dynamic and leaf.function not in (predict_model, evaluate_model)
        ]
        for leaf, model in predictions if training else ():
            shares = adapter_of(model).shares_state
            trained = next((step for step, models in training if any(map(shares, models))), None)
            if trained is not None:
                warnings.warn(
                    f"predict_model({leaf.model!r}), chained at {leaf.step.where}, predicts ahead "
                    f"of the ordered section, and {trained.step.name!r} in it works on the model "
                    f"{trained.model!r}, which has its weights: what is predicted depends on how "
                    "many batches are made ahead. Chain it behind that step, or predict in an "
                    f'@action(model="{leaf.model}", singleton=True)',
                    stacklevel=2,
                )

    def _ready(self, bound: BoundStep | BoundChance) -> ReadyStep:
        if isinstance(bound, BoundChance):
            steps = [self._ready(step) for step in bound.steps]
            take = with_chance(steps, bound.step.probability, self._replay_note)
            return take if self._timed is None else self._timed(bound.step, take), bound.step
        function = awaited(bound.function, self._loop) if is_awaited(bound) else bound.function
        args = tuple(map(self._with_joined, bound.args))
        take = make_step(bound, function, args, self._model_for(bound))
        return take if self._timed is None else self._timed(bound.step, take), bound.step

    def _with_joined(self, value: Any) -> Any:
        """Put what makes the batches of this run into the place of a joined pipeline."""
        if isinstance(value, Joined):
            return _ReadyJoin(self._joined[id(value)])
        if type(value) is tuple:
            return tuple(map(self._with_joined, value))
        return value


class _ReadyJoin(Joined):
    """In the place of `Joined`: the batch that a function makes, a `JoinedTo`."""

    __slots__ = ()

    def _resolve(self, batch: Batch) -> Any:
        joined = self._pipeline(batch)
        if joined is None:
            raise SkipBatch
        return joined


def _measured(bound: BoundStep, timed: Timed) -> BoundStep:
    """Return a step that takes several batches, with its calls measured."""
    several: Any = bound.several
    return bound._replace(
        several=timed(bound.step, several), function=timed(bound.step, bound.function)
    )


def needs_loop(bound: BoundStep) -> bool:
    """Check whether a step needs an event loop."""
    given = [*bound.args, *bound.kwargs.values()]
    return (
        is_awaited(bound)
        or bool(getattr(bound.function, "is_async", False))
        or bound.kwargs.get("target") in ("async", "a")
        or any(map(inspect.iscoroutinefunction, given))
    )


def is_awaited(bound: BoundStep) -> bool:
    """Check whether a step returns a coroutine."""
    called = bound.args[0] if bound.function is call and bound.args else bound.function
    return inspect.iscoroutinefunction(called)


def _dynamic(
    model_of: Callable[[Batch], Any], watched: Callable[[Any], Any], given: Iterable[Any]
) -> Callable[[Batch], Any]:
    """Make what gives a dynamic model, which is made from the first batch that asks."""
    is_ready = False

    def model_for(batch: Batch) -> Any:
        nonlocal is_ready
        descriptor = model_of(batch)
        if not is_ready:  # the sessions of a graph to which the model was only now added
            initialize_sessions(given)
            watched(descriptor)
            is_ready = True
        return descriptor

    return model_for


def _with_model(steps: Sequence[Bound]) -> list[Any]:
    """Return those of some steps that work on a model."""
    return [leaf for step in steps for leaf in step.leaves if leaf.model is not None]
