"""Model actions that are called on a batch, or by `super()`: they get their model, too.

In a chain a model action gets its model from the run. Called directly, it is looked up: that of the
batch's pipeline, or else of its class.

    batch.train(rate=20)              the model is looked up
    batch.train(net, rate=20)         it is given

Which of both a call is follows from its arguments. Where they could be either, what is given is the
model if it is that object, or one of its class; anything else is refused.

A parallel action that calls a singleton takes it out of the order of the batches: in a run with
`prefetch` a warning says so. In worker processes it is an error, as there is no model.
"""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from batchflow.errors import ArgumentTypeError, BatchflowError, add_note_once

_PLAIN = "_batchflow_plain"


def with_model(function: Callable[..., Any], model: str, *, singleton: bool) -> Callable[..., Any]:
    """Return an action that looks its model up where it is called without.

    Args:
        function: The method, which takes the model first after `self`.
        model: The name of the model.
        singleton: Whether it takes one batch at a time, in order.
    """
    function = plain(function)
    signature = inspect.signature(function)

    @functools.wraps(function)
    def called(batch: Any, *args: Any, **kwargs: Any) -> Any:
        if singleton:
            _warn_if_side_by_side(function.__name__, model)
        if not _fits(signature, (batch, None, *args), kwargs):  # it is given, or the call is wrong
            return function(batch, *args, **kwargs)
        found = _looked_up(batch, model, function.__name__)
        if _fits(signature, (batch, *args), kwargs) and _is_given(found, args, signature, function):
            return function(batch, *args, **kwargs)
        return function(batch, found, *args, **kwargs)

    setattr(called, _PLAIN, (called, function))
    return called


def plain(function: Any) -> Any:
    """Return the method itself of an action of `with_model`; anything else unchanged."""
    # The mark is copied by decorators around it: then it is not about what they have made.
    made, own = getattr(function, _PLAIN, (None, None))
    return own if made is function else function


def _warn_if_side_by_side(name: str, model: str) -> None:
    # Not at the top: dill takes along what this module has, with an action of a script.
    from batchflow.batch.directory import side_by_side

    if side_by_side.get():
        warnings.warn(
            f"the singleton action {name!r} is called by a parallel action, where several batches "
            f"work on the model {model!r} at once, in no order. Let the action that calls it be a "
            "singleton, too: @action(singleton=True)",
            stacklevel=3,
        )


def _fits(signature: inspect.Signature, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    try:
        signature.bind(*args, **kwargs)
    except TypeError:
        return False
    return True


def _looked_up(batch: Any, model: str, name: str) -> Any:
    try:
        return batch.get_model_by_name(model)
    except BatchflowError as error:
        add_note_once(
            error,
            f"{name} was called without its model; to give it: "
            f'batch.{name}(pipeline.models["{model}"], ...), once the pipeline has run',
        )
        raise


def _is_given(
    found: Any, args: Sequence[Any], signature: inspect.Signature, function: Callable[..., Any]
) -> bool:
    """Check whether the first of the arguments is the model, where it need not be.

    Raises:
        ArgumentTypeError: It may be either.
    """
    if not args:
        return False  # a default in the place of the model
    if args[0] is found or type(args[0]) is type(found):
        return True
    own = list(signature.parameters)[1:]
    raise ArgumentTypeError(
        f"{function.__qualname__}{signature}, called on a batch, gets its model by itself; "
        f"{args[0]!r:.60} may be the model, or the argument behind it. Write "
        f"{function.__name__}({own[0]}=...) for the model, or the names of the other arguments"
    )
