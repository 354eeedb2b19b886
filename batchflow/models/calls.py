"""What a pipeline does with a model: it trains it by one step, and predicts.

A model is any object. What can be done to it follows from what it is:

| the model | `train` | `predict` |
|---|---|---|
| a Keras model | one compiled step of its optimizer | `predict_on_batch` |
| a `tf_keras` model | its `train_on_batch` | `predict_on_batch` |
| a torch module | refused: its `train` is a switch | its `predict`, or a call in eval mode |
| an object with `train_on_batch`, such as an Estimator | `train_on_batch(...)` | |
| an object with `train` | `train(...)` | |
| an object with `partial_fit` | `partial_fit(...)` | |
| an object with `predict` | | `predict(...)` |
| another callable | | a call |

The first row that fits decides. Making a model is in `batchflow.models.build`, saving and loading
in `batchflow.models.checkpoint`.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Mapping, Sequence
from types import GeneratorType
from typing import Any

from batchflow.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    UnknownNameError,
    did_you_mean,
)
from batchflow.models import keras_legacy
from batchflow.models.build import signature_of, title
from batchflow.models.keras import alone, is_keras_model, named_outputs
from batchflow.models.keras_legacy import is_tf_keras_model
from batchflow.models.keras_step import Call, train_on_batch, train_on_batches

__all__ = [
    "Fetches",
    "predict",
    "train",
    "train_several",
    "train_step",
    "train_steps",
    "trains_several",
]

Fetches = str | int | Sequence[str | int] | None


def train(
    model: Any, args: Sequence[Any], kwargs: Mapping[str, Any], fetches: Fetches = None
) -> Any:
    """Do one training step.

    Args:
        model: A compiled Keras model: one step of its optimizer on exactly this batch
            (`x, y=None, sample_weight=None, class_weight=None`). With `reset_metrics=False` its
            metrics go on from the last step: `model.reset_metrics()` begins anew. An object with
            `train`: that is called; an object with `partial_fit`, such as a scikit-learn
            estimator: that.
        args: The arguments of the step.
        kwargs: Those given by name.
        fetches: What to return: a name, or several in a list. Of a Keras model: `"loss"` and the
            names of its metrics, of this batch alone if they were reset. Passed on to a `train`
            that has a parameter `fetches`; of the result of any other: keys of a mapping, positions
            in a list, or attributes. Of an object with `partial_fit`: its attributes after the
            step, copied.

    Returns:
        With `fetches`: the value, or a list of values in the order of the names. Without: the loss
        of a Keras model (with `return_dict=True`, all values by name), what `train` returned, or
        None after a `partial_fit`. Numbers of a Keras model are `LazyValue`s: they do as floats do,
        and are read from the device when they are first used.

    Raises:
        ArgumentTypeError: (a `TypeError`) There is nothing to train the object with.
        ModelDefinitionError: (a `TypeError`) The Keras model is not compiled.
        UnknownNameError: (a `KeyError`) There is no value of that name.
    """
    if is_keras_model(model):
        with alone(model):
            logs = train_on_batch(model, args, kwargs)
        return _of_logs(logs, kwargs, fetches, model)
    if is_tf_keras_model(model):
        logs = keras_legacy.train_on_batch(model, args, kwargs)
        return _of_logs(logs, kwargs, fetches, model)
    if _is_torch_module(model):
        raise ArgumentTypeError(
            f"{title(model)} is a torch module: its train() is a switch, not a training step. "
            "Write the step in an @action(model=..., singleton=True), or wrap the module in an "
            "object with a method train(...) that does the step"
        )
    for name in ("train_on_batch", "train"):
        if callable(step := getattr(model, name, None)):
            return _call(step, args, kwargs, fetches, model)
    if callable(step := getattr(model, "partial_fit", None)):
        step(*args, **kwargs)
        # Copied: the next step changes the arrays of an estimator in place.
        return (
            None
            if fetches is None
            else copy.deepcopy(_choose(model, fetches, model, "partial_fit"))
        )
    raise ArgumentTypeError(
        f"{title(model)} cannot be trained: a model that is trained by a pipeline is a Keras "
        "model or an object with a method train(...) or partial_fit(...). For anything else write "
        "the step in an @action(model=..., singleton=True)"
    )


def trains_several(model: Any) -> bool:
    """Tell whether several steps of a model can be done in one call."""
    return is_keras_model(model)


def train_several(
    model: Any,
    calls: Sequence[Call],
    fetches: Sequence[Fetches] | None = None,
    n_per_call: int | None = None,
) -> list[Any]:
    """Do several training steps, one after the other: of a Keras model in one call where possible.

    Args:
        model: As for `train`.
        calls: The positional and the keyword arguments of each step.
        fetches: What to return of each step, one after the other; None: nothing is named.
        n_per_call: How many steps of a Keras model one compiled call is made of. Another number of
            calls than this, such as the rest of an epoch, is done in single steps, so that nothing
            is compiled for it. None: as many as there are.

    Returns:
        What `train` gives for each call, in order.

    Raises:
        ArgumentTypeError: (a `TypeError`) There is nothing to train the object with.
        ModelDefinitionError: (a `TypeError`) The Keras model is not compiled.
        UnknownNameError: (a `KeyError`) There is no value of that name.
    """
    named = [None] * len(calls) if fetches is None else fetches
    if not is_keras_model(model):
        steps = zip(calls, named, strict=True)
        return [train(model, args, kwargs, names) for (args, kwargs), names in steps]
    with alone(model):
        several = train_on_batches(model, calls, n_per_call)
    return [
        _of_logs(logs, kwargs, names, model)
        for logs, (_, kwargs), names in zip(several, calls, named, strict=True)
    ]


def _of_logs(logs: Any, kwargs: Mapping[str, Any], fetches: Fetches, model: Any) -> Any:
    if fetches is None:
        return logs if kwargs.get("return_dict") else _choose(logs, "loss", model, "train")
    return _choose(logs, fetches, model, "train")


def train_step(
    model: Any,
    x: Any,
    y: Any = None,
    sample_weight: Any = None,
    *,
    fetches: Fetches = None,
    reset_metrics: bool = True,
) -> Any:
    """Do one compiled training step of a Keras model: for actions of one's own.

    The same weights as `model.train_on_batch(x, y, sample_weight)`, sooner; and the values stay on
    the device until they are read.

    Args:
        model: A compiled Keras model.
        x: The inputs: an array, or a list or dict of arrays.
        y: The targets, likewise.
        sample_weight: A weight for each item.
        fetches: `"loss"`, the name of a metric, or a list of them.
        reset_metrics: Whether the values are those of this batch alone; if not, they go on from
            the last step. `model.reset_metrics()` begins anew.

    Returns:
        The loss, or what `fetches` names: `batchflow.models.LazyValue`s.

    Raises:
        ArgumentTypeError: (a `TypeError`) It is no Keras model.
        ModelDefinitionError: (a `TypeError`) The model is not compiled.
        UnknownNameError: (a `KeyError`) There is no value of that name.

    Example::

        @action(model="net", singleton=True)
        def fit(self, net):
            self.loss = train_step(net, self.images, self.labels)
            return self
    """
    _check_keras(model)
    logs = train_on_batch(model, (x, y, sample_weight), {"reset_metrics": reset_metrics})
    return _choose(logs, "loss" if fetches is None else fetches, model, "train")


def train_steps(
    model: Any,
    batches: Sequence[Sequence[Any]],
    *,
    fetches: Fetches = None,
    reset_metrics: bool = True,
    n_per_call: int | None = None,
) -> list[Any]:
    """Do one training step of a Keras model for each of several batches, in one call.

    The same weights as `train_step` for one after the other. The call is compiled for each number
    of batches, so keep to one, or name it in `n_per_call`. Batches of different shapes, and the
    first of a model whose metrics are not built yet, are single steps.

    Args:
        model: A compiled Keras model.
        batches: `(x, y)` or `(x, y, sample_weight)` each, of one shape.
        fetches: As for `train_step`.
        reset_metrics: As for `train_step`.
        n_per_call: The number of batches that a compiled call is made for: fewer, or more, are
            single steps. None: any.

    Returns:
        What `train_step` gives for each batch, in order.

    Raises:
        ArgumentTypeError: (a `TypeError`) It is no Keras model.
        ArgumentValueError: (a `ValueError`) A batch is not of that form.
        ModelDefinitionError: (a `TypeError`) The model is not compiled.
        UnknownNameError: (a `KeyError`) There is no value of that name.
    """
    _check_keras(model)
    if not all(1 <= len(batch) <= 3 for batch in batches):
        raise ArgumentValueError("each batch is (x, y) or (x, y, sample_weight)")
    kwargs = {"reset_metrics": reset_metrics}
    calls = [(batch, kwargs) for batch in batches]
    names = "loss" if fetches is None else fetches
    return train_several(model, calls, [names] * len(calls), n_per_call)


def _check_keras(model: Any) -> None:
    if not is_keras_model(model):
        raise ArgumentTypeError(f"a Keras model was expected, got {title(model)}")


def predict(
    model: Any, args: Sequence[Any], kwargs: Mapping[str, Any], fetches: Fetches = None
) -> Any:
    """Predict.

    Args:
        model: A Keras model: `predict_on_batch`. An object with `predict`: that is called. A torch
            module without it: called in eval mode without gradients; arrays become tensors of the
            module's device and, if they hold floats, of its dtype; every submodule gets the mode
            back that it had. Any other callable: called.
        args: The arguments.
        kwargs: Those given by name.
        fetches: Which of several outputs to return: one or a list of names (or positions, where
            the outputs are a list). Passed on to a `predict` that has a parameter `fetches`.

    Returns:
        The prediction. Of Keras and torch models: an array, or a list or dict of arrays.

    Raises:
        ArgumentTypeError: (a `TypeError`) There is nothing to predict with.
        UnknownNameError: (a `KeyError`) There is no output of that name.
    """
    if is_keras_model(model) or is_tf_keras_model(model):
        with alone(model):
            outputs = model.predict_on_batch(*args, **kwargs)
        if fetches is None:
            return outputs
        return _choose(named_outputs(model, outputs), fetches, model, "predict")
    if callable(method := getattr(model, "predict", None)):
        return _call(method, args, kwargs, fetches, model)
    if _is_torch_module(model):
        outputs = _call_torch(model, args, kwargs)
    elif callable(model):
        outputs = model(*args, **kwargs)
    else:
        raise ArgumentTypeError(
            f"{title(model)} cannot predict: a model that predicts in a pipeline is a Keras "
            "model, an object with a method predict(...) or anything that can be called"
        )
    return outputs if fetches is None else _choose(outputs, fetches, model, "predict")


def _call(
    method: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    fetches: Fetches,
    model: Any,
) -> Any:
    """Call a method of a user's object, and let it choose, or choose from its result."""
    signature = None if fetches is None else signature_of(method)
    if signature is not None and "fetches" in signature.parameters:
        return _read(method(*args, fetches=fetches, **kwargs))
    result = _read(method(*args, **kwargs))
    return result if fetches is None else _choose(result, fetches, model, method.__name__)


def _read(result: Any) -> Any:
    """Read what a generator gives, as long as nobody else works on the model."""
    return list(result) if isinstance(result, GeneratorType) else result


def _choose(result: Any, fetches: Fetches, model: Any, verb: str) -> Any:
    """Choose from a result one value by its name, or a list of them by theirs."""
    if isinstance(fetches, list | tuple):
        return [_choose_one(result, name, model, verb) for name in fetches]
    return _choose_one(result, fetches, model, verb)


def _choose_one(result: Any, name: Any, model: Any, verb: str) -> Any:
    known: Any = ()
    if isinstance(result, Mapping):
        if name in result:
            return result[name]
        known = result
    elif isinstance(name, str):
        if hasattr(result, name):
            return getattr(result, name)
        known = (key for key in getattr(result, "__dict__", ()) if not key.startswith("_"))
    elif isinstance(result, list | tuple):
        known = range(len(result))
        if name in known:
            return result[name]
    raise UnknownNameError(
        f"{title(model)} gives no {name!r} in {verb}: the result is a {type(result).__name__}."
        + did_you_mean(name, map(str, known))
    )


# ---- torch


def _is_torch_module(model: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and hasattr(torch, "nn") and isinstance(model, torch.nn.Module)


def _call_torch(module: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    torch = sys.modules["torch"]
    parameter = next(module.parameters(), None)

    def tensor(value: Any) -> Any:
        if not (hasattr(value, "__array__") and hasattr(value, "dtype")) or torch.is_tensor(value):
            return value
        made = torch.tensor(value)  # a copy: an array may be read-only
        if parameter is None:
            return made
        return made.to(
            device=parameter.device, dtype=parameter.dtype if made.is_floating_point() else None
        )

    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        with torch.no_grad():
            outputs = module(*map(tensor, args), **{k: tensor(v) for k, v in kwargs.items()})
    finally:
        for part, mode in modes:
            part.training = mode
    return _to_numpy(outputs)


def _to_numpy(outputs: Any) -> Any:
    if isinstance(outputs, Mapping):
        return {name: _to_numpy(value) for name, value in outputs.items()}
    if isinstance(outputs, list | tuple):
        return [_to_numpy(value) for value in outputs]
    return outputs.detach().cpu().numpy() if hasattr(outputs, "detach") else outputs
