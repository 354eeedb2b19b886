"""`pipeline.gives`: the class of the batches, told to type checkers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batchflow.batch import Batch
from batchflow.batch.typevars import OtherT
from batchflow.errors import ArgumentTypeError
from batchflow.plan.names import overridable_by_action

if TYPE_CHECKING:
    from batchflow.pipeline import Pipeline


@overridable_by_action
def gives(pipeline: Any, batch_class: type[OtherT]) -> Pipeline[OtherT]:
    """Tell type checkers the class of the batches behind a step with `@action(gives=...)`.

    They know the class of a dataset's batches, and no step by its name: what is chained here is
    taken for a step of that class. This adds no step, and is checked.

    Args:
        pipeline: The pipeline.
        batch_class: The class of its batches.

    Returns:
        This pipeline.

    Raises:
        ArgumentTypeError: The steps give batches of another class.

    Example:
        >>> from batchflow import ArrayBatch, Dataset, Pipeline, action
        >>> class Patches(ArrayBatch):
        ...     pass
        >>> class Images(ArrayBatch):
        ...     @action(expands=2, gives=Patches)
        ...     def patches(self) -> Patches:
        ...         return self.repeat(2, Patches)
        >>> images = Dataset.from_arrays(Images, data=[1, 2])
        >>> pipeline: Pipeline[Patches] = images.p.patches().gives(Patches)
    """
    if not (isinstance(batch_class, type) and issubclass(batch_class, Batch)):
        raise ArgumentTypeError(f"gives: expected a batch class, got {batch_class!r:.60}")
    if pipeline.dataset is not None:
        found = pipeline._names().batch_class
        if not issubclass(found, batch_class):
            raise ArgumentTypeError(
                f"gives({batch_class.__name__}): the batches here are of {found.__name__}; a step "
                "that gives others says so, @action(gives=...)"
            )
    return pipeline  # type: ignore[no-any-return]
