"""A feed for a loop of another framework: with one seed for all its epochs, and values converted.

Guarantees:
    - Loop after loop gives what one run over all their epochs gives.
    - A loop ends its run: at its end, by an error, where it is left, where nobody holds it.
    - A state is that behind the last batch which was given. Going on from it gives what came next.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from batchflow.engine import Run, RunOptions
from batchflow.engine.resuming.saving import state_of
from batchflow.errors import ArgumentTypeError, ArgumentValueError

if TYPE_CHECKING:
    from batchflow.engine.resuming.cursor import Cursor

Convert = Callable[[Any, str], Any]

_KEYS = {"epoch", "run", "seed", "shuffle"}


class Here(NamedTuple):
    """Where a loop stands.

    Attributes:
        epoch: The epoch at which it began.
        run: Its run.
        cursor: Where that stands.
    """

    epoch: int
    run: Run
    cursor: Cursor


class FeedData:
    """The data that the loop of another framework goes through: a copy of a feed, with one seed.

    Args:
        feed: The `Feed`.
        user: The method that makes it: the first word of messages.
        first_epoch: The epoch at which the first loop begins; None: that of the feed's options.

    Attributes:
        seed: The seed of everything random in the batches.
    """

    def __init__(self, feed: Any, user: str, first_epoch: int | None) -> None:
        super().__init__()
        self._user = user
        self._asked: RunOptions = feed._options
        self._of: Callable[[RunOptions], Any] = feed._of
        self.seed: int
        self.seed, self._shuffle = self._asked.seeds()
        state = None if feed._state is None else feed.state_dict()
        if state is not None:
            self.seed = state["run"]["seed"]
            self._shuffle = state["run"]["fingerprint"]["shuffle"]
        self._feed = self._of(self._settled()._replace(state=state))
        if first_epoch is not None:
            self._feed.epoch = first_epoch

    @property
    def epoch(self) -> int:
        """The epoch at which the next loop begins. Beginning a loop moves it on; it can be set."""
        epoch: int = self._feed.epoch
        return epoch

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        if self._feed._state is None or epoch != self._feed.epoch:  # else it goes on within that
            self._feed.epoch = epoch
        self._forget()

    def set_epoch(self, epoch: int) -> None:
        """Let the next loop begin at an epoch: the same as setting `epoch`.

        Where a state was loaded that is within that epoch, the loop goes on there.
        """
        self.epoch = epoch

    def __len__(self) -> int:
        """Return the number of batches of a whole loop, skipped ones included.

        Raises:
            TypeError: The loop has no end, or the number is not known.
        """
        return len(self._feed)

    def __bool__(self) -> bool:
        return True

    def state_dict(self) -> dict[str, Any]:
        """Return where the latest loop stands: behind the last batch that it gave.

        It is a mapping for JSON of less than 1 KB. In the middle of an epoch the loop that loads it
        has the rest of that epoch; behind the end of the loop, the next epoch.

        Raises:
            BatchflowError: Nobody can go on from here: see `Run.state_dict`.
        """
        shuffle, here = self._settled().shuffle, self._consumer
        seeds = {"seed": self.seed, "shuffle": shuffle if isinstance(shuffle, int) else None}
        if here is None:
            return {**self._feed.state_dict(), **seeds}
        return {"epoch": here.epoch, "run": state_of(here.cursor, here.run._graph)} | seeds

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Let the next loop go on from a state, and those behind it in the epochs that follow.

        Raises:
            ArgumentTypeError: It is not what `state_dict` has returned.
            ArgumentValueError: The pipeline, its data or its options are others.
        """
        if not isinstance(state, Mapping) or {*state} != _KEYS:
            raise ArgumentTypeError(
                f"{self._user}: a state is what state_dict() returns, got {state!r:.60}"
            )
        given = self._asked
        if not given.draws_seed and given.seed != state["seed"]:
            raise ArgumentValueError(
                f"{self._user}: the state is of seed={state['seed']}, and the feed has "
                f"seed={given.seed}"
            )
        self.seed, self._shuffle = state["seed"], state["shuffle"]
        options = self._settled()
        of_feed = {"epoch": state["epoch"], "run": state["run"]}
        feed = self._of(options._replace(state=of_feed))
        if state["run"] is not None:  # a run compares them
            options = options._replace(first_epoch=state["epoch"], state=state["run"])
            Run(feed._program, options).close()
        self._feed = feed
        self._forget()

    def __repr__(self) -> str:
        return f"<Data of a feed, next epoch {self.epoch}, seed {self.seed}>"

    # ---- for loops

    # Where the consumer stands, if that is not where the loop does, which may be ahead.
    _consumer: Here | None = None

    def _forget(self) -> None:
        """Forget where the consumer of the latest loop stood."""
        self._consumer = None

    @property
    def _plan(self) -> Any:
        return self._feed._program.plan

    @property
    def _options(self) -> RunOptions:
        """The options of the next loop."""
        return self._settled()._replace(first_epoch=self.epoch)

    def _settled(self) -> RunOptions:
        """Return the options with the seeds of all loops."""
        options: RunOptions = self._asked._replace(seed=self.seed)
        is_number = isinstance(self._shuffle, int) and not isinstance(self._shuffle, bool)
        return options._replace(shuffle=self._shuffle) if is_number else options

    def _begin(self, convert: Convert) -> Generator[tuple[Any, ...], None, None]:
        """Begin a loop, and yield the values of each batch.

        Args:
            convert: Takes each value, and what to call it in a message.
        """
        return self._converted(iter(self._feed), convert)

    def _converted(self, loop: Any, convert: Convert) -> Generator[tuple[Any, ...], None, None]:
        given = self._plan.steps[-1].step.kwargs
        try:
            for values in loop:
                held = converted(given, values, convert)
                del values
                yield held
                del held
        finally:
            loop.close()

    @property
    def _here(self) -> Here | None:
        """Where the latest loop stands; None: it is over, or none has begun."""
        begun, run = self._feed._begun, self._feed._run
        return None if run is None or begun is None else Here(begun[0], run, run._cursor())


def converted(given: Mapping[str, Any], values: tuple[Any, ...], convert: Convert) -> Any:
    """Return the values of a batch, each converted.

    Args:
        given: The expressions of the feed, by name.
        values: Their values.
        convert: Takes a value, and what to call it in a message.
    """
    parts = zip(given.items(), values, strict=True)
    return tuple(_converted(value, what, name, convert) for (name, what), value in parts)


def _converted(value: Any, given: Any, name: str, convert: Convert) -> Any:
    if isinstance(given, dict) and isinstance(value, dict):
        return {k: _converted(v, given[k], f"{name}[{k!r}]", convert) for k, v in value.items()}
    if isinstance(given, tuple) and isinstance(value, tuple):
        parts = enumerate(zip(value, given, strict=True))
        return tuple(_converted(v, g, f"{name}[{k}]", convert) for k, (v, g) in parts)
    return convert(value, f"{name}={given!r}")
