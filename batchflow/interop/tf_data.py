"""A feed as a `tf.data.Dataset`. TensorFlow is imported on use.

    run -> values -> from_generator (threads of tf.data) -> dataset.map, prefetch, ... -> consumer

Guarantees:
    - Each loop over the dataset is a run of the pipeline, and shows the next epoch.
    - The signature is that of a batch which is made for it alone: nothing is moved on by that.
    - tf.data turns exceptions into its own. A loop over the dataset itself raises the original;
      of datasets made from it, it is the attribute `failure` of this one.
    - Leaving a loop ends its run: TensorFlow lets go of the generator, which closes it.
    - Nothing ordered runs ahead of the batch in the consumer's hands: where the pipeline has
      ordered steps, or steps behind its last batch, tf.data reads ahead only where it is told to.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from batchflow.arrays import is_sparse, is_table
from batchflow.engine import PipelineState, Run, RunOptions
from batchflow.engine.program import Program
from batchflow.errors import ArgumentTypeError, ArgumentValueError
from batchflow.extras import imported
from batchflow.interop.loops import FeedData, converted
from batchflow.interop.order import has_order

_GIVE = "give signature=, such as (tf.TensorSpec((None, 8), tf.float32), ...)"


def tf_dataset(feed: Any, first_epoch: int | None, signature: Any) -> Any:
    """Make the dataset.

    Args:
        feed: The `Feed`.
        first_epoch: The epoch at which the first loop begins; None: that of the feed's options.
        signature: Of a batch: `tf.TypeSpec`s in the structure of its values; None: found out.

    Raises:
        MissingPackageError: TensorFlow is not installed.
        ArgumentValueError: The signature cannot be found out.
        Exception: Whatever an action raises, if it is found out.
    """
    tf = imported("tensorflow", "to_tf")
    data = FeedData(feed, "to_tf", first_epoch)
    given = data._plan.steps[-1].step.kwargs
    convert = functools.partial(_tensor, tf=tf)
    if signature is None:
        first = converted(given, _first_values(feed._program, data._options), convert)
        signature = tf.nest.map_structure(functools.partial(_spec, tf=tf), first)
    signature = _checked(signature, given, tf)
    failures: list[BaseException] = []

    def generate() -> Iterator[Any]:
        failures.clear()
        try:
            for values in data._begin(convert):
                yield _fitting(values, signature, given, tf)
                del values
        except GeneratorExit:
            raise
        except BaseException as error:
            failures.append(error)
            raise

    dataset: Any = tf.data.Dataset.from_generator(generate, output_signature=signature)
    if has_order(data._plan):
        exact = tf.data.Options()
        exact.experimental_optimization.inject_prefetch = False
        dataset = dataset.with_options(exact)
    return _dataset_class()(dataset, failures)


@functools.cache
def _dataset_class() -> type:
    """Make the class of the data, whose own loops raise the original exception."""
    tf: Any = imported("tensorflow", "to_tf")
    base: Any = tf.data.Dataset
    iterator_class = _iterator_class(tf)

    class FeedDataset(base):  # type: ignore[misc]
        """The batches of a feed: see `Feed.to_tf`."""

        def __init__(self, inner: Any, failures: list[BaseException]) -> None:
            self._inner, self._failures = inner, failures
            super().__init__(inner._variant_tensor)

        def _inputs(self) -> list[Any]:
            return [self._inner]

        @property
        def element_spec(self) -> Any:
            """The spec of a batch."""
            return self._inner.element_spec

        @property
        def failure(self) -> BaseException | None:
            """The exception that has ended the latest loop, or None."""
            return self._failures[0] if self._failures else None

        def __iter__(self) -> Any:
            if not tf.executing_eagerly():
                return super().__iter__()
            iterator = iterator_class(self)
            iterator._failures = self._failures
            return iterator

    return FeedDataset


def _iterator_class(tf: Any) -> Any:
    base: Any = type(iter(tf.data.Dataset.range(1)))

    class FeedIterator(base):  # type: ignore[misc]
        """The iterator of such a loop."""

        _failures: list[BaseException]

        def __next__(self) -> Any:
            try:
                return super().__next__()
            except StopIteration:
                raise
            except Exception as error:  # noqa: BLE001  TensorFlow's own types
                raise self._failures[0] if self._failures else error from None

    return FeedIterator


def _first_values(program: Program, options: RunOptions) -> tuple[Any, ...]:
    """Return the values of a batch that is made for this alone.

    Raises:
        ArgumentValueError: It cannot be made without what stands in order: variables, models; or
            there is none.
    """
    if has_order(program.plan) or program.plan.hooks.before or program.plan.hooks.once:
        raise ArgumentValueError(
            "to_tf: the pipeline has ordered steps, or steps ahead of its first batch, which are "
            f"not taken to find out what a batch is like: {_GIVE}"
        )
    twin = program._replace(state=PipelineState(()))
    alone = options._replace(prefetch=0, executor="serial", bar=False)
    with Run(twin, alone) as run:
        batch = next(run, None)
        if batch is None:
            raise ArgumentValueError(
                f"to_tf: there are no batches to see what they are like: {_GIVE}"
            )
        values: tuple[Any, ...] = batch._fed
    return values


def _tensor(value: Any, what: str, *, tf: Any) -> Any:
    """Return what tf.data takes: an array, a text, a number, a tensor, a ragged tensor."""
    if is_table(value) or is_sparse(value):
        raise ArgumentTypeError(_refusal(what, f"it is a {type(value).__name__}"))
    if not isinstance(value, np.ndarray):
        return value
    if isinstance(value, np.ma.MaskedArray) or value.dtype.kind in "mMV":
        masked = "masked " if isinstance(value, np.ma.MaskedArray) else ""
        raise ArgumentTypeError(_refusal(what, f"it is a {masked}array of {value.dtype}"))
    if not value.dtype.isnative:
        value = value.astype(value.dtype.newbyteorder("="))
    if value.dtype.kind != "O":
        return value.astype(object) if value.dtype.kind == "T" else value
    items = value.ravel().tolist()
    if all(isinstance(item, (str, bytes)) for item in items):
        return value
    parts = [np.asarray(item) for item in items]
    same = {(part.dtype, part.shape[1:]) for part in parts if part.ndim}
    if value.ndim != 1 or len(same) != 1 or not all(part.ndim for part in parts):
        raise ArgumentTypeError(_refusal(what, "its items differ in more than their length"))
    if parts[0].dtype.kind not in "biufcSU":
        raise ArgumentTypeError(_refusal(what, f"its items are arrays of {parts[0].dtype}"))
    return tf.RaggedTensor.from_row_lengths(np.concatenate(parts), [len(part) for part in parts])


def _spec(value: Any, *, tf: Any) -> Any:
    """Return the spec of a value, with any number of items."""
    spec = tf.type_spec_from_value(value)
    if isinstance(spec, tf.RaggedTensorSpec):
        shape = [None, None, *spec.shape[2:]]
        return tf.RaggedTensorSpec(shape, spec.dtype, spec.ragged_rank, spec.row_splits_dtype)
    return tf.TensorSpec([None, *spec.shape[1:]] if spec.shape.rank else [], spec.dtype)


def _checked(signature: Any, given: Any, tf: Any) -> Any:
    """Check the signature of a batch; return it as the tuple of its values."""
    if not isinstance(signature, (tuple, list)):
        signature = (signature,)
    specs = tf.nest.flatten(tuple(signature))
    if len(signature) != len(given) or not all(isinstance(s, tf.TypeSpec) for s in specs):
        raise ArgumentValueError(
            f"to_tf: signature is a tf.TypeSpec for each of {', '.join(given)}, in the structure "
            f"that the feed has, got {signature!r:.200}"
        )
    return tuple(signature)


def _fitting(values: tuple[Any, ...], signature: Any, given: Any, tf: Any) -> Any:
    """Return values that fit the signature, equal lengths as ragged tensors where it says so."""
    fit = []
    for (name, value), spec in zip(zip(given, values, strict=True), signature, strict=True):
        convert: Callable[[Any, Any], Any] = functools.partial(_fit, name=name, tf=tf)
        fit.append(tf.nest.map_structure(convert, spec, value))
    return tuple(fit)


def _fit(spec: Any, value: Any, *, name: str, tf: Any) -> Any:
    if isinstance(spec, tf.RaggedTensorSpec):
        if isinstance(value, np.ndarray) and value.dtype.kind != "O":
            value = tf.RaggedTensor.from_tensor(value)
        return value
    if isinstance(value, tf.RaggedTensor):
        raise ArgumentValueError(
            f"to_tf: {name} has items of different lengths here, and the signature has {spec}: "
            "give signature= with a tf.RaggedTensorSpec in its place, or pad the items"
        )
    shape, dtype = np.shape(value), getattr(value, "dtype", None)
    if not spec.shape.is_compatible_with(shape):
        raise ArgumentValueError(
            f"to_tf: {name} has the shape {shape} here, and the signature has {spec}: give "
            "signature= with None in the place of what differs"
        )
    if (
        isinstance(value, np.ndarray)
        and value.dtype.kind not in "OUS"
        and dtype != spec.dtype.as_numpy_dtype
    ):
        raise ArgumentValueError(
            f"to_tf: {name} is an array of {dtype} here, and the signature has {spec}: bring all "
            "batches to one dtype, by .astype(...) in the chain"
        )
    return value


def _refusal(what: str, reason: str) -> str:
    return (
        f"feed: {what} cannot become a tensor: {reason}. Make numbers, texts or items that differ "
        "in their length alone of it in an action"
    )
