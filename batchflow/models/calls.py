"""The calls that a pipeline makes on a model: train it by one step, predict, and evaluate.

A model is any object. Its kind decides how it is called:

| the model | `train` | `predict` | `evaluate` |
|---|---|---|---|
| a Keras model | a compiled step | `predict_on_batch` | `test_on_batch` |
| a `tf_keras` model | its `train_on_batch` | `predict_on_batch` | `test_on_batch` |
| a `TorchModel` | a step of its optimizer | a call in eval mode | its loss and metrics |
| a torch module | refused: a switch | its `predict`, or a call in eval mode | its `evaluate` |
| an object: its first | `train_on_batch`, `train`, `partial_fit` | see below | see below |

An object predicts by the first of `predict`, a call and `transform` that it has, and evaluates by
that of `test_on_batch`, `evaluate` and `score`. The first row that fits decides. Each kind has its
file in `batchflow.models.adapters`. Models are made in `batchflow.models.build`, saved and loaded
in `batchflow.models.checkpoint`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from batchflow.errors import ArgumentTypeError, ArgumentValueError
from batchflow.models.adapters import Adapter, Call, Fetches, adapter_of

__all__ = [
    "Fetches",
    "evaluate",
    "predict",
    "train",
    "train_several",
    "train_step",
    "train_steps",
    "trains_several",
]


def train(
    model: Any, args: Sequence[Any], kwargs: Mapping[str, Any], fetches: Fetches = None
) -> Any:
    """Do one training step.

    Args:
        model: A compiled Keras model: one step of its optimizer on exactly this batch
            (`x, y=None, sample_weight=None, class_weight=None`). With `reset_metrics=False` its
            metrics go on from the last step; `model.reset_metrics()` begins anew. Of another object
            `train` is called, or `partial_fit`, as scikit-learn estimators have it.
        args: The positional arguments of the step.
        kwargs: Its keyword arguments.
        fetches: The name of a value to return, or a list of names. Of a Keras model: `"loss"` and
            the names of its metrics, of this batch alone if they were reset. Passed on to a `train`
            that has a parameter `fetches`; of the result of any other: keys of a mapping, positions
            in a list, or attributes. Of an object with `partial_fit`: its attributes after the
            step, copied.

    Returns:
        With `fetches`: the value, or a list of values in the order of the names. Without: the loss
        of a Keras model (with `return_dict=True`, all values by name), the result of `train`, or
        None after a `partial_fit`. Numbers of a Keras model are `LazyValue`s: they work as floats,
        and are read from the device when they are first used.

    Raises:
        ArgumentTypeError: (a `TypeError`) There is nothing to train the object with.
        ModelDefinitionError: (a `TypeError`) The Keras model is not compiled.
        UnknownNameError: (a `KeyError`) There is no value of that name.
    """
    return adapter_of(model).train(args, kwargs, fetches)


def trains_several(model: Any) -> bool:
    """Check whether several steps of a model can be done in one call."""
    return adapter_of(model).trains_several


def train_several(
    model: Any,
    calls: Sequence[Call],
    fetches: Sequence[Fetches] | None = None,
    n_per_call: int | None = None,
) -> list[Any]:
    """Do several training steps in order; those of a Keras model in one call where possible.

    Args:
        model: As for `train`.
        calls: The positional and the keyword arguments of each step.
        fetches: The `fetches` of each step, in order. None: no step has any.
        n_per_call: How many steps of a Keras model one compiled call is made of. Another number of
            calls than this, such as the rest of an epoch, is done in single steps, so that nothing
            is compiled for it. None: as many as there are.

    Returns:
        The result of `train` for each call, in order.

    Raises:
        ArgumentTypeError: (a `TypeError`) There is nothing to train the object with.
        ModelDefinitionError: (a `TypeError`) The Keras model is not compiled.
        UnknownNameError: (a `KeyError`) There is no value of that name.
    """
    named = [None] * len(calls) if fetches is None else fetches
    return adapter_of(model).train_several(calls, named, n_per_call)


def predict(
    model: Any, args: Sequence[Any], kwargs: Mapping[str, Any], fetches: Fetches = None
) -> Any:
    """Return the predictions of a model.

    Args:
        model: Of a Keras model `predict_on_batch` is called, of another object its `predict`. A
            torch module without it is called in eval mode without gradients: arrays become tensors
            on the module's device and, if they hold floats, of its dtype; every submodule gets its
            mode back. Any other callable is called, and of the rest `transform`.
        args: The positional arguments.
        kwargs: The keyword arguments.
        fetches: The name of an output, or a list of names; positions, where the outputs are a list.
            Passed on to a `predict` that has a parameter `fetches`.

    Returns:
        The prediction. Of Keras and torch models: an array, or a list or dict of arrays.

    Raises:
        ArgumentTypeError: (a `TypeError`) There is nothing to predict with.
        UnknownNameError: (a `KeyError`) There is no output of that name.
    """
    return adapter_of(model).predict(args, kwargs, fetches)


def evaluate(
    model: Any, args: Sequence[Any], kwargs: Mapping[str, Any], fetches: Fetches = None
) -> Any:
    """Test a model on one batch.

    Args:
        model: A compiled Keras model: its `test_on_batch` (`x, y=None, sample_weight=None`). With
            `reset_metrics=False` its metrics go on from the last step. Of another object
            `test_on_batch`, `evaluate` or `score` is called, the first that it has.
        args: The positional arguments.
        kwargs: The keyword arguments.
        fetches: The name of a value to return, or a list of names, as for `train`.

    Returns:
        With `fetches`: the value, or a list of values in the order of the names. Without: the loss
        and the metrics of a Keras model by name; of another object what its method gives.

    Raises:
        ArgumentTypeError: (a `TypeError`) There is nothing to evaluate the object with.
        ModelDefinitionError: (a `TypeError`) The Keras model is not compiled.
        UnknownNameError: (a `KeyError`) There is no value of that name.
    """
    return adapter_of(model).evaluate(args, kwargs, fetches)


def train_step(
    model: Any,
    x: Any,
    y: Any = None,
    sample_weight: Any = None,
    *,
    fetches: Fetches = None,
    reset_metrics: bool = True,
) -> Any:
    """Do one compiled training step of a Keras model, in an action of your own.

    It gives the same weights as `model.train_on_batch(x, y, sample_weight)` in less time, and its
    values stay on the device until they are read.

    Args:
        model: A compiled Keras model.
        x: The inputs: an array, or a list or dict of arrays.
        y: The targets, likewise.
        sample_weight: A weight for each item.
        fetches: `"loss"`, the name of a metric, or a list of them.
        reset_metrics: Whether the values are of this batch alone. Otherwise they go on from the
            last step, and `model.reset_metrics()` begins anew.

    Returns:
        The loss, or the values that `fetches` names: `batchflow.models.LazyValue`s.

    Raises:
        ArgumentTypeError: (a `TypeError`) The model is no Keras model.
        ModelDefinitionError: (a `TypeError`) The model is not compiled.
        UnknownNameError: (a `KeyError`) There is no value of that name.

    Example::

        @action(model="net", singleton=True)
        def fit(self, net):
            self.loss = train_step(net, self.images, self.labels)
            return self
    """
    names = "loss" if fetches is None else fetches
    kwargs = {"reset_metrics": reset_metrics}
    return _compiled(model).train((x, y, sample_weight), kwargs, names)


def train_steps(
    model: Any,
    batches: Sequence[Sequence[Any]],
    *,
    fetches: Fetches = None,
    reset_metrics: bool = True,
    n_per_call: int | None = None,
) -> list[Any]:
    """Do one training step of a Keras model for each of several batches, in one call.

    It gives the same weights as `train_step` for each batch in order. The call is compiled for each
    number of batches: keep to one, or name it in `n_per_call`. Batches of different shapes, and the
    first ones of a model whose metrics are not built yet, are trained on in single steps.

    Args:
        model: A compiled Keras model.
        batches: `(x, y)` or `(x, y, sample_weight)` each, of one shape.
        fetches: As for `train_step`.
        reset_metrics: As for `train_step`.
        n_per_call: The number of batches that a compiled call is made for. Fewer or more are
            trained on in single steps. None: any number is compiled.

    Returns:
        The result of `train_step` for each batch, in order.

    Raises:
        ArgumentTypeError: (a `TypeError`) The model is no Keras model.
        ArgumentValueError: (a `ValueError`) A batch is not of that form.
        ModelDefinitionError: (a `TypeError`) The model is not compiled.
        UnknownNameError: (a `KeyError`) There is no value of that name.
    """
    adapter = _compiled(model)
    if not all(1 <= len(batch) <= 3 for batch in batches):
        raise ArgumentValueError("each batch is (x, y) or (x, y, sample_weight)")
    kwargs = {"reset_metrics": reset_metrics}
    calls = [(batch, kwargs) for batch in batches]
    names = "loss" if fetches is None else fetches
    return adapter.train_several(calls, [names] * len(calls), n_per_call)


def _compiled(model: Any) -> Adapter:
    """Return the adapter of a Keras model."""
    adapter = adapter_of(model)
    if not adapter.trains_several:
        raise ArgumentTypeError(f"a Keras model was expected, got {adapter.title}")
    return adapter
