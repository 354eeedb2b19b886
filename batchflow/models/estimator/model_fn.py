"""Calls of a user's function by the names of its parameters."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from batchflow.errors import ArgumentTypeError, ArgumentValueError, add_note_once, did_you_mean
from batchflow.models.estimator.spec import EstimatorSpec

_log = logging.getLogger("batchflow")

MODEL_FN_PARAMETERS = (
    *("features", "labels", "mode", "params", "config", "model_dir"),
    "sample_weight",
)


def parameters_of(function: Callable[..., Any], known: Sequence[str], what: str) -> list[str]:
    """Return the names of known parameters that a function takes.

    Args:
        function: A function, method, `functools.partial` or object with `__call__`. The keyword
            arguments of a partial are no parameters any more.
        known: The names that can be passed.
        what: The name of the function in errors.

    Raises:
        ArgumentTypeError: (a `TypeError`) It cannot be called.
        ArgumentValueError: (a `ValueError`) It needs a parameter of another name, or takes one by
            position only.
    """
    if not callable(function):
        raise ArgumentTypeError(f"{what} is a function, got {type(function).__name__}")
    taken = set(function.keywords) if isinstance(function, functools.partial) else set()
    parameters = [
        one for one in inspect.signature(function).parameters.values() if one.name not in taken
    ]
    for one in parameters:
        is_needed = one.default is one.empty and one.kind not in (
            one.VAR_POSITIONAL,
            one.VAR_KEYWORD,
        )
        if is_needed and one.name not in known:
            raise ArgumentValueError(
                f"{what} has a parameter {one.name!r}; those that can be passed are "
                f"{', '.join(known)}.{did_you_mean(one.name, known, only_near=True)}"
            )
        if one.kind is one.POSITIONAL_ONLY and one.name in known:
            raise ArgumentValueError(
                f"{what} takes {one.name!r} by position only, and parameters are passed by name: "
                "leave the / out"
            )
    if any(one.kind is one.VAR_KEYWORD for one in parameters):
        return [name for name in known if name not in taken]
    return [one.name for one in parameters if one.name in known]


def check_model_fn(model_fn: Any, params: Any) -> list[str]:
    """Check a model function, and return the names of the parameters that it takes.

    A warning is logged if it takes `params` and there are none.

    Raises:
        ArgumentTypeError: (a `TypeError`) It cannot be called.
        ArgumentValueError: (a `ValueError`) It is None, has no parameter `features`, needs one that
            is not known, or takes no `params` although some are given.
    """
    if model_fn is None:
        raise ArgumentValueError("Estimator: model_fn is missing")
    names = parameters_of(model_fn, MODEL_FN_PARAMETERS, "model_fn")
    if "features" not in names:
        raise ArgumentValueError("model_fn has no parameter 'features': it gets the model's inputs")
    if params is not None and "params" not in names:
        raise ArgumentValueError(
            "params are given, but model_fn has no parameter 'params': write "
            "model_fn(features, labels, mode, params)"
        )
    is_asked_for = "params" in names and "params" in inspect.signature(model_fn).parameters
    if is_asked_for and params is None:
        _log.warning(
            "Estimator: model_fn has a parameter 'params', and no params are given: it gets {}. "
            "Write Estimator(model_fn, params={...}), or leave the parameter out"
        )
    return names


@contextmanager
def telling(what: str, mode: Any, **parts: Any) -> Iterator[None]:
    """Say in a note of an error which function was called, in which mode and with what."""
    try:
        yield
    except Exception as error:
        given = ", ".join(f"{k} {_shown(v)}" for k, v in parts.items() if v is not None)
        note = f"while {what} was called in the mode {mode.value!r} with {given or 'nothing'}"
        add_note_once(error, note)
        raise


def title_of(function: Any, role: str) -> str:
    """Return the name of a function for a message: `model_fn`, or `model_fn <name>`."""
    name = getattr(function, "__name__", type(function).__name__)
    return role if name == role else f"{role} {name}"


def _shown(value: Any) -> str:
    """Return the shapes and dtypes of nested tensors."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key!r}: {_shown(part)}" for key, part in value.items()) + "}"
    if isinstance(value, tuple | list):
        return "(" + ", ".join(map(_shown, value)) + ")"
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{tuple(value.shape)} {getattr(value.dtype, 'name', value.dtype)}"
    return f"{value!r:.60}"


def call_model_fn(
    model_fn: Callable[..., Any], names: Sequence[str], values: Mapping[str, Any]
) -> EstimatorSpec:
    """Call a model function.

    Args:
        model_fn: The function.
        names: The result of `check_model_fn`.
        values: The values that can be passed, by name.

    Raises:
        ArgumentValueError: (a `ValueError`) The input has labels or sample weights, which the
            function does not take; or it returns no `EstimatorSpec`, or one of another mode.
    """
    parts = {name: values[name] for name in ("features", "labels", "sample_weight")}
    with telling(title_of(model_fn, "model_fn"), values["mode"], **parts):
        return _checked_spec(model_fn, names, values)


def _checked_spec(
    model_fn: Callable[..., Any], names: Sequence[str], values: Mapping[str, Any]
) -> EstimatorSpec:
    for name in ("labels", "sample_weight"):
        if values[name] is not None and name not in names:
            raise ArgumentValueError(
                f"the input_fn gives {name}, but model_fn has no parameter {name!r}"
            )
    spec = model_fn(**{name: values[name] for name in names})
    if not isinstance(spec, EstimatorSpec):
        raise ArgumentValueError(
            f"model_fn returns an EstimatorSpec, got {type(spec).__name__}"
            + (": is a return missing?" if spec is None else "")
        )
    if "mode" not in names:
        return dataclasses.replace(spec, mode=values["mode"])  # checks what this mode needs
    if spec.mode != values["mode"]:
        raise ArgumentValueError(
            f"model_fn was called with the mode {values['mode'].value!r} and returned an "
            f"EstimatorSpec of the mode {spec.mode.value!r}: pass its mode on"
        )
    return spec
