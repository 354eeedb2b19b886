"""Hooks: Keras callbacks, and objects with the methods of a session run hook.

| a session run hook | when |
|---|---|
| `begin()` | before the first batch |
| `before_run(run_context)` | before each batch |
| `after_run(run_context, run_values)` | after it; `run_values.results` are logs: `{"loss": ...}` |
| `end(session)` | after the last batch; `session` is None |

`run_context.request_stop()` ends the loop after this batch. A call of `train` is one epoch to
callbacks, and the number of a batch is the global step before it.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from batchflow.errors import ArgumentTypeError

__all__ = ["Hooks", "RunContext", "RunValues", "check_hooks"]

_METHODS = ("begin", "before_run", "after_run", "end")


class RunValues(NamedTuple):
    """What a session run hook gets after a batch.

    Attributes:
        results: The logs of the batch, or its predictions.
        options: None.
        run_metadata: None.
    """

    results: Any
    options: None = None
    run_metadata: None = None


class RunContext:
    """What a session run hook stops the loop with.

    Attributes:
        session: None: there is no session.
        original_args: None.
        stop_requested: Whether somebody has asked for the end.
    """

    session = None
    original_args = None

    def __init__(self) -> None:
        self.stop_requested = False

    def request_stop(self) -> None:
        """End the loop after this batch."""
        self.stop_requested = True


class Hooks:
    """The hooks of one loop.

    Args:
        given: The hooks: see `check_hooks`.
        model: The Keras model of the loop.
        kind: `"train"`, `"test"` or `"predict"`.
        steps: Up to which number batches go, unless the input ends before. None: not known.
    """

    def __init__(
        self, given: Iterable[Any], model: Any, kind: str, steps: int | None = None
    ) -> None:
        keras = sys.modules["keras"]
        self._model = model
        self._kind = kind
        self._params = {"verbose": 1, "epochs": 1, "steps": steps}  # as Keras's own loops
        # Not in a CallbackList of Keras: that waits for the device, to read the loss of every step.
        self._callbacks = [
            one if isinstance(one, keras.callbacks.Callback) else _adapter_class()(one)
            for one in given
        ]
        self._logs: Any = {}

    @contextmanager
    def around(self) -> Iterator[None]:
        """Tell of the begin, and of the end if the loop ends well."""
        self._logs = {}
        self._stop(False)
        for callback in self._callbacks:
            callback.set_params(dict(self._params))
            callback.set_model(self._model)
        self._tell(f"on_{self._kind}_begin")
        if self._kind == "train":
            self._tell("on_epoch_begin", 0)
        yield
        if self._kind == "train":
            self._tell("on_epoch_end", 0, self._logs)
        ends_with = () if self._kind == "predict" else (self._logs,)
        self._tell(f"on_{self._kind}_end", *ends_with)

    def before(self, number: int) -> None:
        """Tell of a batch to come."""
        self._tell(f"on_{self._kind}_batch_begin", number)

    def after(self, number: int, logs: Any) -> None:
        """Tell of a batch that is done."""
        self._logs = logs
        self._tell(f"on_{self._kind}_batch_end", number, logs)

    def follow(self, model: Any) -> None:
        """Tell of another model that has taken the place of the first."""
        self._model = model
        self._stop(False)
        for callback in self._callbacks:
            callback.set_model(model)

    @property
    def wants_stop(self) -> bool:
        """Whether a hook has asked for the end."""
        return bool(getattr(self._model, _STOPS[self._kind], False))

    def _tell(self, what: str, *values: Any) -> None:
        for callback in self._callbacks:
            getattr(callback, what)(*values)

    def _stop(self, value: bool) -> None:
        setattr(self._model, _STOPS[self._kind], value)


_STOPS = {"train": "stop_training", "test": "stop_evaluating", "predict": "stop_predicting"}


def check_hooks(hooks: Any, what: str) -> tuple[Any, ...]:
    """Check hooks.

    Raises:
        ArgumentTypeError: (a `TypeError`) One is neither a `keras.callbacks.Callback` nor an object
            with the methods of a session run hook.
    """
    if hooks is None:
        return ()
    keras = sys.modules["keras"]
    if not isinstance(hooks, list | tuple):
        raise ArgumentTypeError(f"{what}: hooks is a list, got {type(hooks).__name__}")
    for hook in hooks:
        is_hook = isinstance(hook, keras.callbacks.Callback) or (
            not isinstance(hook, type)
            and all(callable(getattr(hook, method, None)) for method in _METHODS)
        )
        if not is_hook:
            raise ArgumentTypeError(
                f"{what}: a hook is a keras.callbacks.Callback, or an object with the methods "
                f"{', '.join(_METHODS)}, got {hook!r:.80}"
            )
    return tuple(hooks)


# What does the work of a hook of TensorFlow's own, which needs a graph and a session.
_INSTEAD = {
    "CheckpointSaverHook": "RunConfig(save_checkpoints_steps=...) or save_checkpoints_secs=...",
    "LoggingTensorHook": "RunConfig(log_step_count_steps=...), or a keras.callbacks.Callback that "
    'reads logs["loss"]',
    "NanTensorHook": "keras.callbacks.TerminateOnNaN()",
    "StepCounterHook": "RunConfig(log_step_count_steps=...)",
    "StopAtStepHook": "train(..., steps=...) or max_steps=...",
    "SummarySaverHook": "the summaries of a BaseModel, or keras.callbacks.TensorBoard(...)",
}


def _instead_of(hook: Any) -> str:
    names = (one.__name__ for one in type(hook).__mro__)
    return next(
        (_INSTEAD[name] for name in names if name in _INSTEAD), "a keras.callbacks.Callback"
    )


@contextmanager
def _explained(hook: Any) -> Iterator[None]:
    """Say what to use instead where a hook of TensorFlow's own fails."""
    try:
        yield
    except Exception as error:
        if any(
            one.__module__.partition(".")[0].startswith("tensorflow")
            for one in type(hook).__mro__
            if one.__name__ != "SessionRunHook"  # which does nothing by itself
        ):
            error.add_note(
                f"An Estimator has no graph and no session, which {type(hook).__name__} needs. "
                f"Give {_instead_of(hook)} instead"
            )
        raise


@functools.cache
def _adapter_class() -> Any:
    """Make the class of the callbacks that call a session run hook, when Keras is there."""
    keras: Any = sys.modules["keras"]

    class SessionRunHookCallback(keras.callbacks.Callback):  # type: ignore[misc]
        """Calls a session run hook."""

        def __init__(self, hook: Any) -> None:
            super().__init__()
            self._hook = hook
            self._context = RunContext()

        def _begin(self, logs: Any = None) -> None:  # noqa: ARG002
            with _explained(self._hook):
                self._hook.begin()

        def _before(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002
            self._context = RunContext()
            asked = self._hook.before_run(self._context)
            if asked is not None:
                raise ArgumentTypeError(
                    f"{type(self._hook).__name__}.before_run returned {asked!r:.60}: there is no "
                    "session that could fetch it. Return None; after_run gets the loss in "
                    f"run_values.results. Or give {_instead_of(self._hook)}"
                )

        def _after(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002
            self._hook.after_run(self._context, RunValues(logs))
            if self._context.stop_requested:
                for name in _STOPS.values():
                    setattr(self.model, name, True)

        def _end(self, logs: Any = None) -> None:  # noqa: ARG002
            with _explained(self._hook):
                self._hook.end(None)

        on_train_begin = on_test_begin = on_predict_begin = _begin
        on_train_batch_begin = on_test_batch_begin = on_predict_batch_begin = _before
        on_train_batch_end = on_test_batch_end = on_predict_batch_end = _after
        on_train_end = on_test_end = on_predict_end = _end

    return SessionRunHookCallback
