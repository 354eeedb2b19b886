"""Hooks: Keras callbacks, and objects with the methods of a session run hook.

| a session run hook | when |
|---|---|
| `begin()` | before the first batch |
| `before_run(run_context)` | before each batch |
| `after_run(run_context, run_values)` | after it; `run_values.results` are logs: `{"loss": ...}` |
| `end(session)` | after the last batch; `session` is None |

`run_context.request_stop()` ends the loop after this batch. Callbacks see a call of `train` as one
epoch, and the global step before a batch as its number.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from batchflow.errors import ArgumentTypeError

_METHODS = ("begin", "before_run", "after_run", "end")


class RunValues(NamedTuple):
    """The values that a session run hook gets after a batch.

    Attributes:
        results: The logs of the batch, or its predictions.
        options: None.
        run_metadata: None.
    """

    results: Any
    options: None = None
    run_metadata: None = None


class RunContext:
    """The object by which a session run hook stops the loop.

    Attributes:
        session: None: there is no session.
        original_args: None.
        stop_requested: Whether a hook has asked to stop.
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
        steps: The number of the last batch, unless the input ends before. None: not known.
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
            for one in check_hooks(list(given), f"the hooks of {kind}")
        ]
        self._logs: Any = {}

    @contextmanager
    def around(self) -> Iterator[None]:
        """Call the hooks at the begin of the loop, and at its end if that is no error."""
        self.begin()
        yield
        self.end()

    def begin(self) -> None:
        """Call the hooks at the begin of the loop."""
        self._logs = {}
        self._stop(False)
        for callback in self._callbacks:
            callback.set_params(dict(self._params))
            callback.set_model(self._model)
        self._call(f"on_{self._kind}_begin")
        if self._kind == "train":
            self._call("on_epoch_begin", 0)

    def end(self) -> None:
        """Call the hooks at the end of the loop."""
        if self._kind == "train":
            self._call("on_epoch_end", 0, self._logs)
        ends_with = () if self._kind == "predict" else (self._logs,)
        self._call(f"on_{self._kind}_end", *ends_with)

    def before(self, number: int) -> None:
        """Call the hooks before a batch."""
        self._call(f"on_{self._kind}_batch_begin", number)

    def after(self, number: int, logs: Any) -> None:
        """Call the hooks after a batch."""
        self._logs = logs
        self._call(f"on_{self._kind}_batch_end", number, logs)

    def follow(self, model: Any) -> None:
        """Give the hooks another model, which has replaced the first one."""
        self._model = model
        self._stop(False)
        for callback in self._callbacks:
            callback.set_model(model)

    @property
    def wants_stop(self) -> bool:
        """Whether a hook has asked to stop."""
        return bool(getattr(self._model, _STOPS[self._kind], False))

    def _call(self, method: str, *values: Any) -> None:
        for callback in self._callbacks:
            getattr(callback, method)(*values)

    def _stop(self, value: bool) -> None:
        setattr(self._model, _STOPS[self._kind], value)


_STOPS = {"train": "stop_training", "test": "stop_evaluating", "predict": "stop_predicting"}


def check_hooks(hooks: Any, what: str) -> tuple[Any, ...]:
    """Return hooks as a tuple, checked.

    Raises:
        ArgumentTypeError: (a `TypeError`) A hook is neither a `keras.callbacks.Callback` nor an
            object with the methods of a session run hook.
    """
    if hooks is None:
        return ()
    if not isinstance(hooks, list | tuple):
        raise ArgumentTypeError(f"{what}: hooks is a list, got {type(hooks).__name__}")
    for hook in hooks:
        if not is_hook(hook):
            raise ArgumentTypeError(
                f"{what}: a hook is a keras.callbacks.Callback, or an object with the methods "
                f"{', '.join(_METHODS)}, got {hook!r:.80}"
            )
    return tuple(hooks)


def is_hook(value: Any) -> bool:
    """Check whether a value is a `keras.callbacks.Callback`, or has the methods of a run hook."""
    return isinstance(value, sys.modules["keras"].callbacks.Callback) or (
        not isinstance(value, type)
        and all(callable(getattr(value, method, None)) for method in _METHODS)
    )


# Replacements for the hooks of TensorFlow itself, which need a graph and a session.
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
    """Name a replacement where a hook of TensorFlow itself fails."""
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
    """Return the class of callbacks that call a session run hook, made on first use of Keras."""
    keras: Any = sys.modules["keras"]

    class SessionRunHookCallback(keras.callbacks.Callback):  # type: ignore[misc]
        """A callback that calls a session run hook."""

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
