"""The options of a run: what may be given, checked before anything starts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from batchflow.checkpoints.given import checked_tracker, saving_options
from batchflow.counts import checked_count
from batchflow.engine.orders import nested_shuffle, order_of, refuse_drawn_order
from batchflow.engine.source import Schedule, Source
from batchflow.errors import ArgumentTypeError, ArgumentValueError, did_you_mean
from batchflow.executors.item_threads import MAX_THREADS, cpu_count
from batchflow.index.order import (
    CustomOrder,
    DescribedOrder,
    derived_seed,
    drawn_seed,
    keeps_state,
    order_seed,
)
from batchflow.old_words import old_word
from batchflow.plan.expressions import Expression
from batchflow.plan.values import Value

_EXECUTORS = ("threads", "processes", "ray", "serial")
_OLD_NAMES = {"target": "executor"}
# What a run decides for the pipelines inside of it, too.
_SAVING = ("checkpoint", "resume", "changed", "state", "track")
_OF_RUNS = frozenset(["prefetch", "executor", "target", "n_workers", "bar", "profile", *_SAVING])


class RunOptions(Value):
    """The options of a run, checked.

    Attributes:
        batch_size: Items in a batch; a smaller dataset has one short batch.
        shuffle: False: the order of the index. True: a random order, another in each epoch,
            derived from `seed`. An int: the same, derived from that number. A numpy `Generator` or
            `RandomState`: one number is drawn from it. A function: gets the positions once per
            epoch and returns them in another order; it may also take a generator and the number
            of the epoch. `Shuffle`, `Weighted`, `Balanced` or `Bucketed`: see there.
        n_epochs: How often to go through the items; None is endless. If neither `n_epochs` nor
            `n_iters` is given, once.
        n_iters: How many batches to make, across epochs.
        first_epoch: The epoch to begin at. Its batches have the numbers, items and random draws
            that they have in one run from epoch 0 on; `n_epochs` and `n_iters` count from there.
        drop_last: Whether the shorter last batch of an epoch is left out.
        prefetch: How many batches may be made ahead of the one in the consumer's hands. 0: none,
            everything runs in the consumer's thread. None: 0, or 2 per worker if `n_workers` or
            another executor than threads is given.
        executor: `"threads"`; `"processes"`: worker processes of this machine; `"ray"`; any
            `concurrent.futures.Executor` or what has a `submit` as these have, or a function that
            makes one; or `"serial"`: no thread is ever started.
        n_workers: The most batches at work at once; None: for threads `prefetch`, at most 32; for
            processes the number of CPUs; for another executor its own number, if it tells.
        bar: Whether to show a progress bar; or what to show in it: expressions, `V("loss")`.
        seed: The seed of all randomness of the run: a whole number, or a numpy generator,
            from which one is drawn. None: what `shuffle` is seeded with, or a new one (see
            `Run.seed`).
        checkpoint: Where and when the run is saved: a directory, or `Checkpoint(directory, ...)`.
            The next run with the same directory goes on where this one ended or was killed.
        resume: `"auto"`: the run goes on from the newest checkpoint, if there is one; `"must"`:
            else it is an error; `"never"`: it begins anew, and takes the place of what was saved.
        changed: `"allow"`: a run that differs from the saved one goes on all the same; None: as
            `checkpoint` says.
        state: What `run.state_dict()` has returned: the batches begin behind it. Variables and
            models are yours to save.
        track: Where the variables that are numbers are written behind each batch: a path of JSON
            lines, a board of `batchflow.boards`, or anything with `log(step, values)`, `close()`.
        profile: Whether to measure what each step costs: see `pipeline.last_profile`.
        draws_seed: Whether no number was given for it, so that another run has another.
    """

    batch_size: int
    shuffle: Any = False
    n_epochs: int | None = 1
    n_iters: int | None = None
    first_epoch: int = 0
    drop_last: bool = False
    prefetch: int = 0
    executor: Any = "threads"
    n_workers: int = 1
    bar: Any = False
    seed: int | None = None
    checkpoint: Any = None
    resume: str = "auto"
    changed: str | None = None
    state: Mapping[str, Any] | None = None
    track: Any = None
    profile: bool = False
    draws_seed: bool = False

    @classmethod
    def parse(cls, batch_size: Any, keywords: Mapping[str, Any], *, endless: bool) -> RunOptions:
        """Check the arguments of a call.

        Args:
            batch_size: The batch size, or None if it was not given.
            keywords: The other options, by name.
            endless: Whether a call without `n_epochs` and `n_iters` goes on for ever.

        Raises:
            ArgumentTypeError: An option is not known, or of the wrong type.
            ArgumentValueError: An option has an impossible value.
        """
        for old, new in _OLD_NAMES.items():
            if old in keywords and new in keywords:
                raise ArgumentTypeError(f"{old} is the old name of {new}: give one of them")
        given = {_OLD_NAMES.get(name, name): value for name, value in keywords.items()}
        known = {*cls._fields} - {"draws_seed"}
        for name in given:
            if name not in known:
                hint = old_word(name, "run") or did_you_mean(name, {*known, *_OLD_NAMES})
                raise ArgumentTypeError(f"unknown option {name!r}.{hint}")
        if batch_size is None:
            raise ArgumentTypeError(
                "batch_size is missing: run(64), gen_batch(64), or set it ahead with run_later(64)"
            )
        n_iters = _count("n_iters", given.get("n_iters"), least=1)
        one_epoch = None if endless or n_iters is not None else 1
        return cls(
            batch_size=_count("batch_size", batch_size, least=1) or 0,
            shuffle=_checked_shuffle(given.get("shuffle")),
            n_epochs=_count("n_epochs", given.get("n_epochs", one_epoch), least=1),
            n_iters=n_iters,
            first_epoch=checked_epoch("first_epoch", given.get("first_epoch")),
            drop_last=_flag("drop_last", given.get("drop_last", False)),
            bar=_checked_bar(given.get("bar", False)),
            seed=checked_seed(given.get("seed")),
            **saving_options(given),
            track=checked_tracker(given.get("track")),
            profile=_flag("profile", given.get("profile", False)),
            draws_seed=not hasattr(given.get("seed"), "__index__"),
            **_parallelism(given),
        )

    __hash__ = None  # type: ignore[assignment]

    def __getstate__(self) -> dict[str, Any]:
        # Workers need them for notes only; the user's executor and order need not travel.
        bare = {"executor": "threads", "bar": False, "shuffle": None, "track": None}
        return {**self.__dict__, **bare, "checkpoint": None, "state": None}

    @classmethod
    def nested(
        cls,
        ahead: tuple[int | None, Mapping[str, Any]] | None,
        outer: RunOptions,
        number: int,
        n_epochs: int | None,
    ) -> RunOptions:
        """Return the options of a pipeline whose batches another one reads.

        Args:
            ahead: The options that its `run_later` has set.
            outer: The settled options of the other, which hold for what is not set.
            number: Which of the pipelines inside of the other it is: its randomness is another than
                theirs, whatever the seeds.
            n_epochs: The epochs of the other, those before the run begins included.

        Raises:
            ArgumentValueError: It is to be saved by itself.
        """
        size, keywords = ahead or (None, {})
        for name in ("checkpoint", "resume", "state"):
            if keywords.get(name) is not None:
                raise ArgumentValueError(
                    f"{name}= in the run_later of a pipeline whose batches another one reads: the "
                    f"run of the other saves and resumes both; give {name}= to that one"
                )
        given = {name: value for name, value in keywords.items() if name not in _OF_RUNS}
        shuffle = None if "shuffle" in given else nested_shuffle(outer.shuffle, number)
        inherited: dict[str, Any] = {
            "drop_last": outer.drop_last,
            "seed": outer.seed,
            "shuffle": shuffle,
        }
        if not {"n_epochs", "n_iters"} & set(given):
            inherited["n_epochs"] = n_epochs
        options = cls.parse(size or outer.batch_size, {**inherited, **given}, endless=False)
        seed = derived_seed(options.seed or 0, number)
        return options._replace(seed=seed)

    @property
    def is_endless(self) -> bool:
        """Whether there is no last batch."""
        return self.n_epochs is None and self.n_iters is None

    @property
    def is_far(self) -> bool:
        """Whether batches are made in other processes."""
        if isinstance(self.executor, str):
            return self.executor not in ("threads", "serial")
        from concurrent.futures import ThreadPoolExecutor  # on use, for a light import

        return not isinstance(self.executor, ThreadPoolExecutor)

    def settled(self, seed: int, shuffle: Any) -> RunOptions:
        """Return the same options with the seeds that `seeds` has found."""
        return self._replace(seed=seed, shuffle=False if shuffle is None else shuffle)

    def seeds(self) -> tuple[int, Any]:
        """Settle the randomness of one run.

        Returns:
            The seed, and what the order is made from: None, a seed, a function or a description.
        """
        shuffle: Any = self.shuffle
        if isinstance(shuffle, DescribedOrder):
            own = drawn_seed() if shuffle.seed is None else shuffle.seed
            return own if self.seed is None else self.seed, shuffle
        if shuffle is not None and not isinstance(shuffle, bool) and not callable(shuffle):
            shuffle = order_seed(shuffle, where="shuffle")
        seed = self.seed
        if seed is None:
            is_seed = isinstance(shuffle, int) and not isinstance(shuffle, bool)
            seed = shuffle if is_seed else drawn_seed()
        if shuffle is True:
            shuffle = seed
        return seed, None if shuffle is False else shuffle

    def with_kept_order(self, source: Source) -> RunOptions:
        """Return the same options for several runs, which share the state of the order.

        A user's function gives the order of epoch k at its call k, whichever run asks for it.
        """
        function = self.shuffle
        if not callable(function) or isinstance(function, CustomOrder):
            return self
        if self.seed is None and not keeps_state(function):
            return self
        shard = source.shard_spec
        n_items = shard.n_items if shard else len(source)
        return self._replace(shuffle=CustomOrder(n_items, function, self.seed or 0))

    @property
    def counted(self) -> RunOptions:
        """The same options for a run that is only counted: nothing is drawn."""
        return self._replace(shuffle=self._description or False, seed=0, prefetch=0)

    @property
    def _description(self) -> DescribedOrder | None:
        return self.shuffle if isinstance(self.shuffle, DescribedOrder) else None

    def counted_schedule(self, source: Source) -> Schedule:
        """Lay out the source batches for somebody who counts them. Nothing is drawn."""
        return self.schedule(source, 0, self._description)

    def schedule(self, source: Source, seed: int, shuffle: Any) -> Schedule:
        """Lay out the source batches over the items of a source.

        Args:
            source: The source.
            seed: The seed that `seeds` has returned.
            shuffle: The shuffle that it has returned.

        Raises:
            ArgumentValueError: The batch size does not fit the number of items; or the shards of
                an epoch would be cut out of different orders.
        """
        if len(source) == 0:
            raise ArgumentValueError("the dataset has no items, so there are no batches of it")
        if source.shard_spec is not None:
            refuse_drawn_order(self.shuffle, draws_seed=self.draws_seed)
        order, n_items, repeats, window = order_of(source, self.batch_size, seed, shuffle)
        if self.drop_last and self.batch_size > n_items:
            raise ArgumentValueError(
                f"batch_size={self.batch_size} is larger than the dataset, which has {n_items} "
                f"items, and drop_last=True leaves out short batches, so there would be none; use "
                f"a batch_size of at most {n_items}, or drop_last=False"
            )
        schedule = Schedule(n_items, self.batch_size, order, self.drop_last)
        schedule = schedule._replace(repeats=repeats, window=window)
        limits = [] if self.n_iters is None else [self.n_iters]
        if self.n_epochs is not None:
            limits.append(self.n_epochs * schedule.batches_per_epoch)
        first = self.first_epoch * schedule.batches_per_epoch
        return schedule._replace(first=first, end=first + min(limits) if limits else None)

    def replay_call(self, number: int, seed: int, shuffle: Any) -> str:
        """Write the call that makes one source batch of a run again."""
        shown = repr(shuffle)
        if callable(shuffle):
            name = getattr(shuffle, "__name__", "")
            shown = name if name.isidentifier() else "..."
        order = "" if shuffle is None else f", shuffle={shown}"
        drop = ", drop_last=True" if self.drop_last else ""
        return f"pipeline.replay({number}, batch_size={self.batch_size}{order}{drop}, seed={seed})"


def _parallelism(given: Mapping[str, Any]) -> dict[str, Any]:
    executor = _checked_executor(given.get("executor", "threads"))
    n_workers = _count("n_workers", given.get("n_workers"), least=1)
    prefetch = _count("prefetch", given.get("prefetch"), least=0)
    if executor in ("threads", "serial"):
        if prefetch is None:
            prefetch = 2 * (n_workers or 0)
        n_workers = n_workers or max(1, min(prefetch, MAX_THREADS))
        prefetch = 0 if executor == "serial" else prefetch
    else:
        from batchflow.executors.backends.kinds import refuse_fork, worker_count  # on use

        refuse_fork(executor)
        n_workers = n_workers or worker_count(executor) or cpu_count()
        prefetch = 2 * n_workers if prefetch is None else prefetch
        if prefetch == 0:
            raise ArgumentValueError(
                f"prefetch=0 is to work in the consumer's thread, and not on the executor "
                f"{executor!r:.60}; leave one of them out"
            )
    return {"executor": executor, "prefetch": prefetch, "n_workers": n_workers}


def _checked_executor(executor: Any) -> Any:
    if isinstance(executor, str) and executor in _EXECUTORS:
        return executor
    from concurrent.futures import Executor  # on use, for a light import

    if isinstance(executor, Executor):
        return executor
    if isinstance(executor, Expression):
        raise ArgumentTypeError(
            f"executor (target, by its old name) is no late value, got {executor!r:.60}. What a "
            "feed gives beside x is y and sample_weight"
        )
    if not isinstance(executor, type) and callable(getattr(executor, "get_executor", None)):
        raise ArgumentValueError(
            f"executor is a {type(executor).__name__}, which is not one itself: pass what its "
            "get_executor() gives"
        )
    if not isinstance(executor, type) and (
        callable(executor) or callable(getattr(executor, "submit", None))
    ):
        return executor
    hint = did_you_mean(executor, _EXECUTORS, only_near=True)
    raise ArgumentValueError(
        f"executor is one of {', '.join(map(repr, _EXECUTORS))}, or a concurrent.futures.Executor, "
        f"or what has a submit as these have, or a function that makes one, "
        f"got {executor!r:.60}.{hint}"
    )


def _count(name: str, value: Any, *, least: int) -> int | None:
    return None if value is None else checked_count(name, value, least=least)


def checked_epoch(name: str, epoch: Any) -> int:
    """Check the number of an epoch."""
    return 0 if epoch is None else checked_count(name, epoch, least=0)


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, (bool, np.bool_)):
        raise ArgumentTypeError(f"{name} must be True or False, got {value!r:.60}")
    return bool(value)


def _checked_bar(bar: Any) -> Any:
    if isinstance(bar, Expression):
        return (bar,)
    if isinstance(bar, (list, tuple)) and bar and all(isinstance(x, Expression) for x in bar):
        return tuple(bar)
    if isinstance(bar, (list, tuple, str)):
        raise ArgumentTypeError(
            f'bar must be True or False, or what to show: V("loss"), or several expressions; got '
            f"{bar!r:.60}"
        )
    return _flag("bar", bar)


def checked_seed(seed: Any) -> int | None:
    """Check a seed: a whole number, a numpy generator, from which one is drawn, or None."""
    if isinstance(seed, (bool, np.bool_)):
        raise ArgumentTypeError(f"seed must be a whole number, got {seed!r}")
    return None if seed is None else order_seed(seed, where="seed")


def _checked_shuffle(shuffle: Any) -> Any:
    if shuffle is None or isinstance(shuffle, (bool, np.bool_)):
        return bool(shuffle)
    if isinstance(shuffle, (np.random.Generator, np.random.RandomState)) or callable(shuffle):
        return shuffle
    if isinstance(shuffle, DescribedOrder):
        return shuffle
    return order_seed(shuffle, where="shuffle")
