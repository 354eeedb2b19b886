"""Datasets mixed by weight."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from batchflow.counts import checked_count
from batchflow.errors import ArgumentTypeError, ArgumentValueError, did_you_mean

if TYPE_CHECKING:
    from batchflow.index.orders.mixture import Mixture

_STOPS = ("shortest", "longest")


def mix(
    cls: Any,
    datasets: Sequence[Any],
    weights: Sequence[float],
    n: int | None = None,
    stop: Literal["shortest", "longest"] = "shortest",
) -> Any:
    """Make a dataset whose batches have items of several datasets, each in its share.

    Each 1,024 items in a row of an epoch, and the rest at its end, have the items of each dataset
    in its share. In a shuffled run these come in a random order, and each dataset is gone through
    in a random order of its own; otherwise the datasets take turns, each in its order. An order
    `Shuffle(...)` goes for each of them. What comes is a function of the seed and the epoch.

    Args:
        cls: The class of the new dataset.
        datasets: Two datasets or more, of one batch class, whose components are alike.
        weights: A number above 0 for each.
        n: How many items an epoch shows; a dataset that has no more items begins again. None:
            `stop` says it.
        stop: `"shortest"`: an epoch ends before a dataset would begin again, so no item comes
            twice. `"longest"`: it ends when each has shown all its items; others begin again.

    Returns:
        The dataset. Its length is the number of items in an epoch. Ids are those of the datasets;
        if two have one in common, all become `(number of the dataset, id)`. Where an item may come
        twice in an epoch, each batch has the indices `0 ... n - 1`, and `source_ids` tells its
        items. It is not split or cut: do that with its parts.

    Raises:
        ArgumentTypeError: These are no datasets; their batch classes, or their data, are not alike.
        ArgumentValueError: There are less than two, one is a shard or mixed itself, or their
            classes differ; a weight is not a number above 0; `n` or `stop` has no such value.

    Example:
        >>> import numpy as np
        >>> from batchflow import ArrayBatch, Dataset
        >>> ours, theirs = (Dataset.from_arrays(ArrayBatch, data=np.full(9, k)) for k in range(2))
        >>> mixed = Dataset.mix([ours, theirs], [2, 1], stop="shortest")
        >>> [batch.data.tolist() for batch in mixed.gen_batch(6)]
        [[0, 1, 0, 0, 1, 0], [0, 1, 0, 0, 1, 0], [0]]
    """
    from batchflow.batch.mixed import MixedRows  # on use, for a light import
    from batchflow.index.mixed import MixedIds, MixedIndex
    from batchflow.index.orders.mixture import Mixture

    parts = _checked_datasets(datasets)
    shares = _checked_weights(weights, len(parts))
    if stop not in _STOPS:
        raise ArgumentValueError(
            f"mix: stop={stop!r:.60} is not known.{did_you_mean(stop, _STOPS)}"
        )
    number = None if n is None else checked_count("mix: n", n)
    ids = MixedIds([part.index for part in parts])
    mixed = cls(MixedIndex.of(ids), parts[0].batch_class)
    mixed._data = MixedRows(parts, ids)
    mixed._mixture = Mixture.of(parts, shares, number, stop)
    mixed.classes = _common_classes(parts)
    return mixed


def refuse_part(mixture: Mixture, method: str) -> None:
    """Refuse to make a part of a dataset that is mixed."""
    raise ArgumentValueError(
        f"{method}: this dataset is mixed of {len(mixture.datasets)} others, whose items come "
        f"by weight; call {method} on these, and mix what comes of it: "
        "Dataset.mix([a.train, b.train], weights)"
    )


def _checked_datasets(datasets: Any) -> list[Any]:
    if isinstance(datasets, (str, bytes, dict)) or not isinstance(datasets, (list, tuple)):
        raise ArgumentTypeError(f"mix takes a list of datasets, got {datasets!r:.60}")
    if len(datasets) < 2:
        raise ArgumentValueError(f"mix takes two datasets or more, got {len(datasets)}")
    for number, dataset in enumerate(datasets):
        if not hasattr(type(dataset), "_maker"):
            hint = ". Pipelines are merged: pipeline.merge(...)" * hasattr(dataset, "gen_batch")
            raise ArgumentTypeError(f"mix: {number} is no dataset, but {dataset!r:.60}{hint}")
        if dataset.shard_spec is not None:
            raise ArgumentValueError(
                f"mix: {number} is a shard, whose items are others in each epoch; mix the whole "
                "datasets, and shard the result"
            )
        if dataset._mixture is not None:
            raise ArgumentValueError(
                f"mix: {number} is mixed itself; mix all its datasets at once, with weights that "
                "are multiplied"
            )
        if not len(dataset):
            raise ArgumentValueError(f"mix: {number} has no items: {dataset!r}")
    classes = [dataset.batch_class for dataset in datasets]
    for number, batch_class in enumerate(classes):
        if batch_class is not classes[0]:
            raise ArgumentTypeError(
                f"mix: the batches of all datasets are of one class; dataset 0 has "
                f"{classes[0].__name__}, dataset {number} has {batch_class.__name__}"
                f"{' of another definition' * (batch_class.__name__ == classes[0].__name__)}"
            )
    return list(datasets)


def _checked_weights(weights: Any, n_datasets: int) -> list[float]:
    try:
        found = np.asarray(weights)
        if found.dtype.kind not in "iuf":
            raise TypeError(f"they are of {found.dtype}")
    except (TypeError, ValueError) as error:
        raise ArgumentTypeError(
            f"mix: weights are numbers, got {weights!r:.60} ({error})"
        ) from None
    if found.shape != (n_datasets,):
        raise ArgumentValueError(
            f"mix: expected {n_datasets} weights, one for each dataset, got the shape {found.shape}"
        )
    wrong = [number for number in found.tolist() if not 0 < number < np.inf]
    if wrong:
        raise ArgumentValueError(
            f"mix: weights are above 0 and finite, got {wrong[0]}; leave out a dataset that is not "
            "to come"
        )
    return [float(number) for number in found]


def _common_classes(datasets: list[Any]) -> tuple[Any, ...] | None:
    """Return the texts that numbered labels stand for, if all datasets have the same."""
    classes = [dataset.classes for dataset in datasets]
    for number, other in enumerate(classes):
        if other != classes[0]:
            raise ArgumentValueError(
                "mix: the numbers of labels mean other classes: dataset 0 has "
                f"{classes[0]!r:.80}, dataset {number} has {other!r:.80}; give all the same, "
                "from_files(..., classes=...), or keep texts in a component of another name"
            )
    return classes[0]  # type: ignore[no-any-return]
