"""A run that is saved, and goes on where it was killed.

    consumer's thread                              another thread
    a batch is done -> take: copies of variables   -> they go to files on the disk, which get their
                       and models in memory           name, and what is not kept is thrown away

Guarantees:
    - What is saved is the state behind the batch in the consumer's hands: cursor, variables,
      models and global random generators, together.
    - Nothing is saved where an error has ended the run: some steps of a batch may have been taken.
    - What comes after a resumed batch is what would have come, to the last bit.
"""

from __future__ import annotations

import os
import sys
import time
import uuid
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from batchflow.checkpoints import contents
from batchflow.checkpoints.options import Checkpoint
from batchflow.checkpoints.store import Saved, Store, newest
from batchflow.checkpoints.timer import Timer
from batchflow.engine.flow import ReadyGraph
from batchflow.engine.graph import RunGraph, graphs_in
from batchflow.engine.options import RunOptions
from batchflow.engine.orders import with_drawn
from batchflow.engine.resuming.cursor import Cursor, Place, ends_epoch
from batchflow.engine.resuming.fingerprint import (
    code_hash,
    custom_order,
    differences,
    fingerprint_of,
    steps_of,
)
from batchflow.engine.resuming.saved_states import (
    SavedStates,
    StatesToSave,
    numbers_in,
    refuse_lost_models,
    refuse_unknown_best,
)
from batchflow.engine.resuming.signals import SignalWatch
from batchflow.errors import ArgumentValueError, BatchflowError

if TYPE_CHECKING:
    from batchflow.index.shard import Shard


class Saver:
    """Saves a run, and says where it begins.

    Args:
        options: The options of the run: `checkpoint`, `resume`, `state` are looked at.
        shard: The share of the items that the run reads, or None. Each has a folder of its own.

    Raises:
        ArgumentValueError: There is nothing to go on from, and there must be; or the directory
            cannot be written to.
        BatchflowError: Another run writes to it.
    """

    def __init__(self, options: RunOptions, shard: Shard | None) -> None:
        self._checkpoint: Checkpoint | None = options.checkpoint
        self._options = options
        self._saved: Saved | None = None
        self._store: Store | None = None
        self.run_id = uuid.uuid4().hex
        self._state: Mapping[str, Any] | None = options.state
        if self._checkpoint is not None:
            self._store, self._saved = _opened(self._checkpoint, shard, options.resume == "never")
        try:
            if self._store is not None:
                self._read_place(self._store.directory)
            self.cursor = None if self._state is None else Cursor.from_json(self._state)
        except BaseException:
            if self._store is not None:
                self._store.close()
            raise
        self._last_step = _step_at(self.cursor) if self.cursor else 0
        self._timer = None if self._checkpoint is None else Timer(self._checkpoint)
        self._is_rank = shard is not None
        self._at_epoch_ends = self._checkpoint is not None and self._checkpoint.at_epoch_ends
        self._graph: Any = None
        self._signals: SignalWatch | None = None
        self._place: Place | None = None  # of the last of the batches that the cursor lacks
        self._n_new = 0  # how many these are

    def _read_place(self, directory: str) -> None:
        """Read from the checkpoint, if there is one, where the run stood."""
        if self._saved is None:
            if self._options.resume == "must":
                raise ArgumentValueError(
                    f'resume="must": there is no checkpoint that could be read in {directory}'
                )
            return
        manifest = self._saved.manifest
        if "cursor" not in manifest:
            raise ArgumentValueError(
                f"{directory} holds checkpoints of model.fit, by Resume: give another"
            )
        self.run_id, self._state = manifest["run_id"], manifest["cursor"]

    def settled(self, options: RunOptions) -> RunOptions:
        """Return the options with what was drawn for the run that goes on."""
        state = self._state or {}
        if "seed" not in state:
            return options
        drawn = {"seed": state["seed"], "shuffle": state["fingerprint"]["shuffle"]}
        return with_drawn(options, drawn)

    def attach(self, graph: RunGraph) -> None:
        """Let a run begin where it stood, if it is the same run.

        Raises:
            ArgumentValueError: It differs from the one that was saved.
        """
        self._graph = graph
        if self._store is not None:
            refuse_lost_models(graph)
        if self._checkpoint is not None:
            refuse_unknown_best(graph, self._checkpoint.keep.best)
        if self.cursor is None:
            self.cursor = Cursor.at_start(graph)
            return
        self._compare(graph, self.cursor.epoch)
        self.cursor.begin(graph)
        if self._saved is not None:
            if self._is_rank and self._store is not None:
                self._store.forget_behind(self._saved.step)
            print(  # noqa: T201  who starts a run again wants to know
                f"resumed at step {self.cursor.step} of run {self.run_id[:8]}, from "
                f"{self._saved.folder}",
                file=sys.stderr,
            )

    def _compare(self, graph: RunGraph, epoch: int) -> None:
        saved = (self._state or {}).get("fingerprint")
        if saved is None:
            return
        here = fingerprint_of(graph)
        if saved["shard"] and here["shard"] and saved["shard"][1] != here["shard"][1]:
            if self._here.number is not None:
                raise ArgumentValueError(
                    f"the run was saved in the middle of epoch {epoch} by {saved['shard'][1]} "
                    f"shards, and cannot be gone on with by {here['shard'][1]}: that can be done "
                    "at the border of an epoch alone"
                )
            saved = {**saved, "shard": here["shard"]}
        changed = differences(saved, here)
        may_change = self._options.changed
        if may_change is None and self._checkpoint is not None:
            may_change = self._checkpoint.changed
        order, custom = (self._state or {}).get("order"), custom_order(graph)
        if order is not None and custom is not None and may_change != "allow":
            custom.expect(*order)
        if changed and may_change != "allow":
            note = ""
            steps = self._saved and self._saved.manifest.get("steps")
            if steps and saved.get("steps") != here["steps"]:
                note = _first_difference(steps, steps_of(graph))
            raise ArgumentValueError(
                f"this run is not the one that was saved: {'; '.join(changed)}{note}. Begin anew "
                'by resume="never" or another directory, or go on all the same by changed="allow"'
            )
        if self._saved is not None and self._saved.manifest.get("code") not in (
            None,
            code_hash(graph),
        ):
            warnings.warn(
                "the code of an action has changed since the checkpoint was written: what follows "
                "is what the new code makes",
                stacklevel=2,
            )

    @property
    def first_step(self) -> int:
        """How many batches the earlier run had delivered."""
        return 0 if self._state is None else int(self._state["step"])

    @property
    def is_over(self) -> bool:
        """Whether the run that goes on had come to its end."""
        return self.cursor is not None and self.cursor.is_over(self._graph)

    # ---- what was saved, put back: see `flow.Resuming`

    def resuming(self) -> SavedStates | None:
        """Return what puts variables and models back; None where the run begins."""
        if self._saved is None:
            return None
        folder, trust = self._saved.folder, self._checkpoint is not None and self._checkpoint.trust
        return SavedStates(folder, *contents.read(folder, trust=trust))

    def restore_only(self, graph: RunGraph, loop: Any) -> None:
        """Put back what a run that has ended has left; no step is taken."""
        saved = self.resuming()
        if saved is None:
            return
        for _, inner in graphs_in(graph):
            inner.program.state.start_run(inner.seed)
        saved.note_once(graph)
        saved.put_variables(graph)
        saved.put_models(graph, ReadyGraph(graph, loop))

    # ---- saving

    def begin(self) -> None:
        """Watch for signals from now on."""
        if self._checkpoint is not None and self._signals is None:
            names = [*self._checkpoint.signals, *["SIGINT"] * self._checkpoint.interrupt]
            self._signals = SignalWatch(dict.fromkeys(names))  # type: ignore[arg-type]

    def delivered(self, place: Place) -> None:
        """Record a batch that goes to the consumer."""
        self._place = place
        self._n_new += 1

    def leaves_for(self, epoch: int) -> None:
        """Record that an epoch is to come next."""
        self.cursor = self._here.left_for(epoch, self._graph)

    def ended_epoch(self) -> None:
        """Record the end of an epoch whose last batch was skipped, and save if it is time to."""
        self.leaves_for(self._here.epoch + 1)
        if self._is_due() and self._here.problem is None:
            self.save()

    def ended(self, *, stopped: bool) -> None:
        """Record the end of the batches."""
        self.cursor = self._here.at_end(self._graph, stopped=stopped)

    @property
    def _here(self) -> Cursor:
        if self.cursor is None:
            raise BatchflowError("the run has not begun")
        if self._place is not None:  # made where it is asked for, and not for every batch
            self.cursor = self.cursor.behind(self._place, self._graph, self._n_new)
            self._place, self._n_new = None, 0
        return self.cursor

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the batch in the consumer's hands: see `Run.state_dict`."""
        return state_of(self._here, self._graph)

    def save_if_due(self) -> None:
        """Save, if it is time to, or a signal has come: when the consumer is done with a batch.

        Raises:
            Preempted: A signal has come, and the run is saved.
        """
        is_seen = self._signals is not None and self._signals.is_seen
        if self._is_due(is_asked=is_seen) and self._here.problem is None:
            self.save()
        if is_seen:
            self._follow_signal()

    @property
    def _step(self) -> int:
        return self._n_new + (self.cursor.step if self.cursor is not None else 0)

    def _follow_signal(self) -> None:
        if self._store is not None and self._signals is not None:
            self._store.wait()
            where = f"it is saved at step {self._last_step} in {self._store.directory}"
            self._signals.follow(where)

    def _is_due(self, *, is_asked: bool = False) -> bool:
        timer, store, n_new = self._timer, self._store, self._step - self._last_step
        if timer is None or store is None or n_new <= 0:
            return False
        if is_asked or timer.is_due(n_new) or (self._at_epoch_ends and self._is_at_epoch_end()):
            return True
        return timer.is_time(store) and (not self._is_rank or _is_round(self._step, n_new))

    def _is_at_epoch_end(self) -> bool:
        if self._place is None:
            return self._here.number is None
        return ends_epoch(self._place, self._graph)

    def save(self, *, waits: bool = False) -> None:
        """Save the state of the batch in the consumer's hands.

        Args:
            waits: Whether to wait until it is on the disk.

        Raises:
            BatchflowError: The run has no `checkpoint=`, or cannot be resumed here.
            ArgumentTypeError: A variable or a model cannot be saved.
            Exception: What has gone wrong with a checkpoint before this one.
        """
        if self._store is None or self._checkpoint is None:
            raise BatchflowError(
                "the run has no directory for checkpoints: gen_batch(..., checkpoint=directory)"
            )
        here = self._here
        here.refuse_problem()
        step = _step_at(here)
        if step == self._last_step:
            waits = True
        else:
            start = time.monotonic()
            trust = self._checkpoint.trust
            contents.save(self._store, step, self._taken, self._facts, trust=trust)
            self._last_step = step
            if self._timer is not None:
                self._timer.saved(time.monotonic() - start)
        if waits:
            self._store.wait()

    def _taken(self, taking: contents.Taking) -> dict[str, Any]:
        return StatesToSave(self._graph, taking).taken()

    def _facts(self) -> dict[str, Any]:
        return {
            "run_id": self.run_id,
            "cursor": self.state_dict(),
            "values": numbers_in(self._graph),
            "steps": steps_of(self._graph),
            "code": code_hash(self._graph),
        }

    def close(self, *, saves: bool) -> None:
        """End it, and save what has not been saved.

        Args:
            saves: Whether the state may be saved: no error has ended the run.

        Raises:
            Preempted: A signal has come, and the run is saved.
            Exception: What has gone wrong with the last checkpoint.
        """
        if self._signals is not None:
            self._signals.put_back()
        if self._store is None:
            return
        here, store = None if self.cursor is None else self._here, self._store
        try:
            is_here = saves and here is not None and here.problem is None
            if is_here and here is not None and _step_at(here) > self._last_step:
                self.save()
        finally:
            store.close()
        if saves:
            self._follow_signal()


def _opened(checkpoint: Checkpoint, shard: Shard | None, anew: bool) -> tuple[Store, Saved | None]:
    """Open the directory of a run, and find the checkpoint that it goes on from."""
    directory = os.path.abspath(checkpoint.directory)
    if shard is not None:
        from batchflow.checkpoints import ranks  # on use

        own = shard.number, shard.n_shards
        return ranks.opened(directory, *own, checkpoint.keep, anew=anew)
    store = Store(directory, checkpoint.keep)
    return store, None if anew else newest(directory)


def _step_at(cursor: Cursor) -> int:
    """Return the step of a checkpoint: of a run that was stopped some steps of a batch more."""
    return cursor.step + cursor.stopped


def _is_round(step: int, n_new: int) -> bool:
    """Check whether the time of a checkpoint may have come at other ranks, too.

    Clocks differ between ranks, and they go on from a step that all of them have. So a rank waits
    for a multiple of the greatest power of 2 that is no more than the batches since its last one:
    ranks of about one speed meet at each second one at the latest.
    """
    return step % (1 << (n_new.bit_length() - 1)) == 0


def state_of(cursor: Cursor, graph: RunGraph) -> dict[str, Any]:
    """Return the state of a run: see `Run.state_dict`.

    Raises:
        BatchflowError: Nobody can go on from here.
    """
    cursor.refuse_problem()
    facts: dict[str, Any] = {"seed": graph.seed, "fingerprint": fingerprint_of(graph)}
    custom = custom_order(graph)
    if custom is not None and cursor.seen is not None:
        facts["order"] = [cursor.seen, custom.hash_of(cursor.seen)]
    return cursor.to_json() | facts


def _first_difference(saved: list[str], here: list[str]) -> str:
    for one, other in zip(saved, here, strict=False):
        if one != other:
            return f" ({one[:80]!r} was, and {other[:80]!r} is)"
    return f" (there were {len(saved)} steps, and are {len(here)})"
