"""The built-in steps on models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from batchflow.batch import Batch
from batchflow.errors import ArgumentTypeError


def train_model(
    batch: Batch,
    model: Any,
    *args: Any,
    fetches: Any = None,
    steps_per_call: int = 1,  # noqa: ARG001  the engine gives the groups
    **kwargs: Any,
) -> Any:
    """Train a model with this batch: `train_model("net", B.images, B.labels, save_to=...)`.

    One batch at a time, in order.

    Args:
        batch: The batch.
        model: The model; in a chain, its name.
        args: For a Keras model `x, y, sample_weight`; otherwise what its `train` takes. A
            classifier of scikit-learn gets the classes of the dataset's labels.
        fetches: What to return: `"loss"`, the name of a metric, or a list of them.
        steps_per_call: So many batches of an epoch in a row are trained on in one call, step by
            step: the same weights, and a value for each batch. Those that are left over at the end
            of an epoch take single steps. Batches are delivered, and `StopPipeline` ends the run,
            when their group has been trained on.
        kwargs: More arguments.

    Returns:
        The loss or metrics that `fetches` names.
    """
    if hasattr(type(model), "partial_fit"):
        from batchflow.plan.classes import train_in_parts

        return train_in_parts(batch, model, args, kwargs, fetches)
    from batchflow.models import calls  # on use: with what knows the frameworks

    return calls.train(model, args, kwargs, fetches)


def train_model_several(
    model: Any, arguments: Sequence[tuple[Sequence[Any], Mapping[str, Any]]]
) -> list[Any] | None:
    """Train a model with several batches in one call, with the arguments of `train_model` for each.

    Returns:
        What `train_model` returns for each; None, and nothing is done, if the model cannot be
        trained so.
    """
    from batchflow.models import calls  # on use: with what knows the frameworks

    if not calls.trains_several(model):
        return None
    plain = [
        (args, {name: value for name, value in kwargs.items() if name != "fetches"})
        for args, kwargs in arguments
    ]
    return calls.train_several(model, plain, [kwargs.get("fetches") for _, kwargs in arguments])


def predict_model(batch: Batch, model: Any, *args: Any, fetches: Any = None, **kwargs: Any) -> Any:  # noqa: ARG001
    """Make predictions with a model: `predict_model("net", B.images, save_to=B.predictions)`.

    Args:
        batch: The batch.
        model: The model; in a chain, its name.
        args: For a Keras model `x`; otherwise what its `predict` takes.
        fetches: The outputs to return, where there are several.
        kwargs: More arguments.

    Returns:
        The predictions.
    """
    from batchflow.models import calls

    return calls.predict(model, args, kwargs, fetches)


def evaluate_model(batch: Batch, model: Any, *args: Any, fetches: Any = None, **kwargs: Any) -> Any:  # noqa: ARG001
    """Test a model on this batch: `evaluate_model("net", B.images, B.labels, save_to=...)`.

    One batch at a time, in order: the metrics of a model are a part of its state.

    Args:
        batch: The batch.
        model: The model; in a chain, its name.
        args: For a Keras model `x, y, sample_weight`; otherwise what its `evaluate` takes.
        fetches: What to return: `"loss"`, the name of a metric, or a list of them.
        kwargs: More arguments.

    Returns:
        The loss and the metrics by name, of a model of a framework; or what `fetches` names.
    """
    from batchflow.models import calls

    return calls.evaluate(model, args, kwargs, fetches)


def save_model(batch: Batch, model: Any, path: Any) -> None:  # noqa: ARG001
    """Save a model: `pipeline.after.save_model("net", "net.npz")`.

    Args:
        batch: The batch.
        model: The model; in a chain, its name.
        path: The file.
    """
    from batchflow.models import checkpoint  # on use: reading and writing takes some imports

    checkpoint.save(model, path)


def load_model(batch: Batch, model: Any, path: Any, *, trust: bool = False) -> None:  # noqa: ARG001
    """Load what `save_model` saved into a model: `pipeline.before.load_model("net", "net.npz")`.

    Args:
        batch: The batch.
        model: The model; in a chain, its name.
        path: The file.
        trust: Whether the file may execute code.
    """
    from batchflow.models import checkpoint

    loaded = checkpoint.load(path, into=model, trust=trust)
    if loaded is not model:
        raise ArgumentTypeError(
            f"load_model: {path} holds a {type(loaded).__name__} of its own, which cannot be put "
            "into a model that is there. Let the chain make the model of it: "
            "load_model(name, path) for a name that is not declared"
        )
