"""Words of older batchflows, which still work, and what new code writes instead.

`Chain.__getattr__` and `Dataset.__getattr__` look here for names that the classes do not have. Old
words that do not work are in `old_words.py`, with what is written instead.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

from batchflow.engine import RunKeywords, shows_options
from batchflow.errors import ArgumentTypeError, ArgumentValueError, did_you_mean
from batchflow.index import Split
from batchflow.old_words import knows_old_options
from batchflow.plan.declared import parse_variables

if TYPE_CHECKING:
    from batchflow.index.order import ShuffleLike


PipelineT = TypeVar("PipelineT", bound=Any)


@shows_options()
def run_now(
    pipeline: PipelineT, batch_size: int | None = None, **options: Unpack[RunKeywords]
) -> PipelineT:
    """Run the pipeline to its end: the same as `run`."""
    return pipeline.run(batch_size, **options)  # type: ignore[no-any-return]


@knows_old_options("variable", most=1, then="default")
def get_variable(pipeline: Any, name: str) -> Any:
    """Return the value of a variable: the same as `v`."""
    return pipeline.v(name)


@knows_old_options("variable", most=2, then="mode")
def set_v(pipeline: Any, name: str, value: Any) -> None:
    """Set the value of a variable: the same as `set_variable`."""
    pipeline.set_variable(name, value)


def init_variables(pipeline: PipelineT, variables: Mapping[str, Any] | Iterable[str]) -> PipelineT:
    """Declare several variables: see `init_variable`.

    Args:
        pipeline: The pipeline.
        variables: Names; or a mapping from names to initial values, or to dictionaries of the
            arguments of `init_variable`: `{"loss": {"init": list}, "step": 0}`.

    Returns:
        A new pipeline.
    """
    plan = pipeline._plan
    for variable in parse_variables(variables):
        plan = plan.with_variable(variable)
    return pipeline._with(plan)  # type: ignore[no-any-return]


def delete_variables(pipeline: PipelineT, names: Iterable[str] | None = None) -> PipelineT:
    """Take back the declarations of some variables, or of all: see `delete_variable`.

    Returns:
        A new pipeline.

    Raises:
        UnknownNameError: (a `KeyError`) One is not declared.
    """
    if names is None:
        names = [variable.name for variable in pipeline._plan.variables]
    names = [names] if isinstance(names, str) else list(names)
    return pipeline._with(pipeline._plan.without_variables(names))  # type: ignore[no-any-return]


# The methods that `Chain.__getattr__` finds. An action of the batch class comes first.
OF_PIPELINES: dict[str, Callable[..., Any]] = {
    word.__name__: word for word in (run_now, get_variable, set_v, init_variables, delete_variables)
}


# ---- datasets

# The protocol of the engine was public once. By its words: its attributes now, and what to use.
OF_DATASETS = {
    "mark": ("shard_spec", "dataset.shard_spec"),
    "ids": ("_ids_at", "dataset.indices[positions]"),
    "positions": ("_positions_of", "dataset.index.get_pos(ids)"),
    "make_batch": ("_make_batch", "dataset.create_batch(ids)"),
}


def of_dataset(dataset: Any, name: str) -> Any:
    """Return what an older word means for a dataset, with a warning.

    Args:
        dataset: The dataset.
        name: One of `OF_DATASETS`.
    """
    attribute, instead = OF_DATASETS[name]
    warnings.warn(
        f"dataset.{name} goes with the next release; use {instead}",
        DeprecationWarning,
        stacklevel=3,  # the line that asked the dataset
    )
    return getattr(dataset, attribute)


def cv_split(
    dataset: Any,
    shares: Any = None,
    shuffle: ShuffleLike = False,
    *,
    method: str | None = None,
    n_splits: int | None = None,
) -> Any:
    """Split in the words of an older batchflow; new code calls `split` or `kfold`.

    Mind the order: a tuple of shares is (train, test, validation) here, as it was; for `split`
    it is (train, validation, test).

    Args:
        dataset: The dataset.
        shares: The share (0.8) or number of items to train on, the rest being the test part;
            or a tuple of up to three, the rest of two being the validation part. None: 0.8.
        shuffle: As for `split`.
        method: `"kfold"` for cross-validation, which `n_splits` alone means too. It may also
            be given in the place of the shares.
        n_splits: The number of folds; 5 if left out.

    Returns:
        The `Split`, also set as `train`, `validation` and `test`; or, for cross-validation,
        the list of splits, also set as `cv0`, `cv1`, ..., each with `.train` and `.test`.
        The parts and folds of an earlier split are gone.

    Raises:
        ArgumentTypeError: The shares are no numbers, or given beside `n_splits`.
        ArgumentValueError: They do not fit; or the method is not known.

    Example:
        >>> from batchflow import Dataset
        >>> dataset = Dataset(10)
        >>> train, validation, test = dataset.cv_split([0.7, 0.2, 0.1])
        >>> len(dataset.test), len(dataset.validation)
        (2, 1)
        >>> folds = dataset.cv_split(n_splits=3)
        >>> dataset.cv0.test.indices
        array([0, 1, 2, 3])
    """
    parts, n_splits = _parsed(shares, method, n_splits)
    if n_splits is None:
        return dataset.split(*parts, shuffle)
    folds = list(dataset.kfold(n_splits, shuffle))
    dataset._set_parts(Split(None, None, None), folds)
    return folds


def _parsed(
    shares: Any, method: Any, n_splits: int | None
) -> tuple[tuple[Any, Any, Any], int | None]:
    """Return the parts (train, validation, test) of a `cv_split`; the number of folds or None."""
    if isinstance(shares, str) and method is None:
        shares, method = None, shares
    if method not in (None, "kfold"):
        raise ArgumentValueError(
            f'cv_split: the method is "kfold" or left out, got {method!r}.'
            f"{did_you_mean(method, ['kfold'], only_near=True)}"
        )
    if method is None and n_splits is None:
        return _in_old_order(0.8 if shares is None else shares), None
    if shares is not None:
        raise ArgumentTypeError(f"cv_split: kfold takes n_splits, no shares; got {shares!r}")
    return (None, None, None), 5 if n_splits is None else n_splits


def _in_old_order(shares: Any) -> tuple[Any, Any, Any]:
    """Return train, validation and test of shares in the order train, test, validation."""
    if hasattr(shares, "tolist"):
        shares = shares.tolist()
    if not isinstance(shares, (tuple, list)):
        return shares, None, None
    if not 1 <= len(shares) <= 3:
        raise ArgumentValueError(
            f"cv_split: expected 1 to 3 shares (train, test, validation), got {shares!r:.60}"
        )
    train, test, validation = (*shares, None, None)[:3]
    return train, validation, test
