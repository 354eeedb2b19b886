"""The loops of evaluation and prediction, on programs with the weights of another.

Guarantees:
    - A program is used by one loop at a time: two predictions at once, of different checkpoints, do
      not mix.
    - Programs are kept after use, and restored only if another state is needed: that of a
      checkpoint, or of the program that trains.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any

from batchflow.errors import ArgumentTypeError, ArgumentValueError, did_you_mean
from batchflow.models.estimator.batches import Batch, Signature
from batchflow.models.estimator.checkpoints import Live, Saved
from batchflow.models.estimator.hooks import Hooks
from batchflow.models.estimator.program import Program, check_predictions

State = Saved | Live


_Idle = tuple[Program, tuple[Any, ...]]  # with the mark of the state that it has
_MOST_IDLE = 32  # as many as there are threads, at most


class Reader:
    """Programs of one mode, with the weights of another.

    Args:
        build: The function that makes a program for the batches of a signature.
    """

    def __init__(self, build: Callable[[Signature], Program]) -> None:
        self._build = build
        self._guard = threading.Lock()
        self._idle: list[_Idle] = []

    @contextmanager
    def borrowed(self, state: State, batch: Batch) -> Iterator[_Borrowed]:
        """Yield a program that takes a batch, with the weights of a state."""
        with self._guard:
            idle = self._idle.pop() if self._idle else None
        loan = _Borrowed(self._build, state, idle)
        loan.ready(batch)
        try:
            yield loan
        except GeneratorExit:  # a prediction that was left early
            self._keep(loan)
            raise
        self._keep(loan)

    def _keep(self, loan: _Borrowed) -> None:
        if not loan.program.shares:  # otherwise other programs change its weights
            with self._guard:
                self._idle = [*self._idle, (loan.program, loan.mark)][-_MOST_IDLE:]


class _Borrowed:
    """A program in use."""

    program: Program

    def __init__(
        self,
        build: Callable[[Signature], Program],
        state: State,
        idle: _Idle | None,
    ) -> None:
        self._build = build
        self._state = state
        self._idle = idle
        self.mark = state.mark()

    def ready(self, batch: Batch) -> bool:
        """Prepare a program that takes a batch. Return whether it is another one than before."""
        program = getattr(self, "program", None)
        if program is None and self._idle is not None and self._idle[0].signature.takes(batch):
            self.program, mark = self._idle
            if mark != self.mark:
                self._state.restore_weights(self.program)
            return True
        if program is not None and program.signature.takes(batch):
            return False
        signature = Signature.of(batch) if program is None else program.signature.widened(batch)
        self.program = self._build(signature)
        self._state.restore_weights(self.program)
        return True


def evaluate(
    reader: Reader, state: State, batches: Iterator[Batch], steps: int | None, hooks: Sequence[Any]
) -> dict[str, Any]:
    """Evaluate a state. Return the metrics, the loss and the global step.

    Raises:
        ArgumentValueError: (a `ValueError`) There is no batch.
    """
    with closing(batches):  # type: ignore[type-var]
        batch = next(batches, None)
        if batch is None:
            raise ArgumentValueError("evaluate: the input is empty")
        with reader.borrowed(state, batch) as loan:
            program = loan.program
            told = Hooks([*program.spec.evaluation_hooks, *hooks], program.model, "test", steps)
            program.begin_metrics()
            logs: dict[str, Any] = {}
            with told.around():
                number = 0
                while batch is not None:
                    if loan.ready(batch):
                        loan.program.take_metrics(program, batch)
                        program = loan.program
                        told.follow(program.model)
                    told.before(number)
                    logs = program.evaluate(batch)
                    told.after(number, logs)
                    number += 1
                    if number == steps or told.wants_stop:
                        break
                    batch = next(batches, None)
    return {**logs, "global_step": state.progress.step}


def predict(
    reader: Reader,
    saved: Saved,
    batches: Iterator[Batch],
    keys: Sequence[str] | None,
    hooks: Sequence[Any],
) -> Iterator[Any]:
    """Predict with a checkpoint. Yield the predictions of each item.

    Raises:
        ArgumentValueError: (a `ValueError`) `keys` and the predictions do not fit, or the
            predictions of a batch have different numbers of items.
    """
    with closing(batches):  # type: ignore[type-var]
        batch = next(batches, None)
        if batch is None:
            return
        with reader.borrowed(saved, batch) as loan:
            check_keys(keys, loan.program.spec.predictions)
            told = Hooks(
                [*loan.program.spec.prediction_hooks, *hooks], loan.program.model, "predict"
            )
            with told.around():
                number = 0
                while batch is not None and not told.wants_stop:
                    if loan.ready(batch):
                        told.follow(loan.program.model)
                    told.before(number)
                    predictions = loan.program.predict(batch)
                    told.after(number, {"outputs": predictions})
                    yield from _items(predictions, keys)
                    number += 1
                    batch = None if told.wants_stop else next(batches, None)


def predict_batch(
    reader: Reader, state: State, batch: Batch, keys: Sequence[str] | None, hooks: Sequence[Any]
) -> Any:
    """Return the predictions of one batch: an array, or arrays by name.

    Raises:
        ArgumentValueError: (a `ValueError`) As for `predict`.
    """
    with reader.borrowed(state, batch) as loan:
        spec = loan.program.spec
        check_keys(keys, spec.predictions)
        told = Hooks([*spec.prediction_hooks, *hooks], loan.program.model, "predict")
        with told.around():
            told.before(0)
            predictions = loan.program.predict(batch)
            told.after(0, {"outputs": predictions})
    if keys is not None:
        predictions = {key: predictions[key] for key in keys}
    check_predictions(predictions)
    return predictions


def check_keys(keys: Any, predictions: Any) -> None:
    """Check the names of requested predictions.

    Raises:
        ArgumentTypeError: (a `TypeError`) The names are no list of texts.
        ArgumentValueError: (a `ValueError`) The predictions are no dictionary, or have no such
            names.
    """
    if keys is None:
        return
    if isinstance(keys, str) or not isinstance(keys, Sequence | set | frozenset):
        raise ArgumentTypeError(f"predict: predict_keys is a list of names, got {keys!r:.60}")
    if not isinstance(predictions, Mapping):
        raise ArgumentValueError(
            "predict: predict_keys chooses from a dictionary, and the predictions of this model "
            "are one tensor: leave predict_keys out"
        )
    if not keys:
        raise ArgumentValueError(
            f"predict: predict_keys is empty; the predictions are {sorted(predictions)}"
        )
    for key in keys:
        if key not in predictions:
            raise ArgumentValueError(
                f"predict: there is no prediction {key!r}.{did_you_mean(key, predictions)}"
            )


def _items(predictions: Any, keys: Sequence[str] | None) -> Iterator[Any]:
    if keys is not None:
        predictions = {key: predictions[key] for key in keys}
    named = check_predictions(predictions)
    for number in range(named[0][1].shape[0] if named else 0):
        yield _item(predictions, number)


def _item(value: Any, number: int) -> Any:
    if isinstance(value, Mapping):
        return {key: _item(part, number) for key, part in value.items()}
    if isinstance(value, tuple | list):
        return tuple(_item(part, number) for part in value)
    return value[number]
