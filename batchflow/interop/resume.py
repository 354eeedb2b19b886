"""`Resume`: a callback of Keras, by which a killed `fit` goes on inside of its epoch.

    on_train_begin       the checkpoint is found; the model is put back; fit begins at its epoch
    on_epoch_begin       the feed leaves out what was trained on, and Keras reads as much less
    on_train_batch_begin the model again, for other callbacks may have changed it when the epoch
                         began, and the running values of its metrics, which Keras has reset
    on_train_batch_end   saved, if it is time to
    on_epoch_end         saved

Guarantees:
    - What comes after a resumed batch is what would have come, to the last bit, metrics of the
      epoch included. What is not saved: what other callbacks remember.
    - A checkpoint is as those of `run(checkpoint=)`: written whole, by another thread, checked.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
import time
import uuid
import weakref
from typing import Any, Self

from batchflow.checkpoints import Checkpoint, contents
from batchflow.checkpoints.options import checked_checkpoint
from batchflow.checkpoints.store import Store, newest
from batchflow.checkpoints.timer import Timer
from batchflow.engine.resuming.fingerprint import differences
from batchflow.errors import ArgumentTypeError, ArgumentValueError
from batchflow.extras import imported
from batchflow.generators import global_states, set_global_states
from batchflow.interop.keras import KerasFeed

_BEHIND = ("History", "ProgbarLogger")  # Keras's own callbacks, which it puts at the end

# By directory that is open, the thread of its `fit`: one that an error has ended does not tell.
_open: weakref.WeakKeyDictionary[Store, int] = weakref.WeakKeyDictionary()


class Resume:
    """Lets `model.fit(feed.to_keras(), callbacks=[..., Resume(directory)])` go on after a kill.

    Started again with the same arguments, `fit` begins inside of the epoch where it was saved:
    weights, optimizer, random states and the running values of the metrics are as they were, and
    the feed gives the rest of its epoch. Behind its end `fit` returns at once, with the weights.

    It stands last in `callbacks`. What other callbacks remember is not saved. The order of the
    batches is that of the feed: `shuffle` of `fit`, which no other process could repeat, is off.
    A feed as `validation_data` goes on, too; a stream of `to_keras(stream=True)` begins anew.

    Args:
        directory: The folder of the checkpoints, or a `Checkpoint(directory, ...)`, whose
            `every_seconds`, `overhead` and `keep` say when to save and what stays (the best ones
            by a value of the logs, such as `"val_loss"`).
        every_n_batches: Save behind every so many batches. The end of an epoch is always saved.
            None: as the `Checkpoint` says; every 60 seconds.

    Raises:
        ArgumentTypeError: (a `TypeError`) An argument is of the wrong type. In `fit`: the data are
            no `feed.to_keras()`.
        ArgumentValueError: (a `ValueError`) The number is below 1. In `fit`: the feed is
            another one than was saved; `steps_per_epoch` is given.
        MissingPackageError: Keras is not installed.
    """

    model: Any

    def __new__(cls, directory: Any, every_n_batches: int | None = None) -> Self:  # noqa: ARG004
        """Make it a `keras.callbacks.Callback`; the arguments are those of `__init__`."""
        return super().__new__(_callback_class(cls))  # type: ignore[return-value, arg-type]

    def __init__(self, directory: Any, every_n_batches: int | None = None) -> None:
        super().__init__()
        checkpoint = checked_checkpoint(directory)
        if checkpoint is None:
            raise ArgumentTypeError("Resume: directory is the path of a folder, got None")
        if every_n_batches is not None:
            checkpoint = Checkpoint(**{**vars(checkpoint), "every_n_batches": every_n_batches})
        self._checkpoint = checkpoint
        self._directory = os.path.abspath(checkpoint.directory)
        self._store: Store | None = None

    # ---- what Keras calls

    def on_train_begin(self, logs: Any = None) -> None:  # noqa: ARG002
        """Find the newest checkpoint, and let `fit` begin there."""
        arguments = _arguments_of_fit()
        self._epochs: Any = arguments["epoch_iterator"]  # it reads as many batches as it is told
        self._feeds = _feeds_in(arguments, self)
        self._n_batches = len(self._feeds[0])
        self._run_id = uuid.uuid4().hex
        self._at = 0, 0  # the epoch of Keras, and how many of its batches were trained on
        self._n_left_out = 0
        self._timer, self._logs = Timer(self._checkpoint), None
        self._open()
        saved = newest(self._directory)
        self._saved = None if saved is None else saved.folder
        self._last_step = 0
        if saved is not None:
            self._begin_at(saved.manifest, arguments["epochs"])

    def _begin_at(self, manifest: Any, n_epochs: int) -> None:
        """Let `fit` begin where a checkpoint was saved."""
        place = manifest.get("fit")
        if place is None:
            raise ArgumentValueError(
                f"Resume: {self._directory} holds checkpoints of a run of a pipeline: give another"
            )
        epoch, n_done = place["epoch"], place["batch"]
        for feed, own in zip(self._feeds, place["feeds"], strict=False):
            feed.go_to(own["epoch"], n_done if feed is self._feeds[0] else 0, own["fingerprint"])
            changed = differences(own["fingerprint"], feed.indexed.fingerprint)
            if changed and self._checkpoint.changed != "allow":
                raise ArgumentValueError(
                    f"Resume: the feed is not the one that was saved: {'; '.join(changed)}. Give "
                    'another directory, or go on by Checkpoint(directory, changed="allow")'
                )
        self._run_id, self._at, self._n_left_out = manifest["run_id"], (epoch, n_done), n_done
        self._last_step = self._step
        self._put_back()
        self.model._initial_epoch = n_epochs if place["stopped"] else epoch
        print(  # noqa: T201  who starts it again wants to know
            f"resumed at batch {n_done} of epoch {epoch}, from {self._saved}", file=sys.stderr
        )

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002
        """Note the epoch."""
        self.model._initial_epoch = None  # it has been read; later fits begin where they are told
        self._at = epoch, self._n_left_out
        self._epochs._num_batches = self._n_batches - self._n_left_out

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002
        """Put the model back once more, in front of the first batch inside of an epoch."""
        if self._n_left_out and batch == 0 and self._saved is not None:
            self._put_back()
            self._saved = None

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Save, if it is time to."""
        self._at, self._logs = (self._at[0], self._n_left_out + batch + 1), logs
        if self._at[1] < self._n_batches and self._is_due():
            self._save()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Save."""
        self._at, self._n_left_out, self._saved = (epoch + 1, 0), 0, None
        self._logs = logs
        self._save()

    def on_train_end(self, logs: Any = None) -> None:  # noqa: ARG002
        """Wait for what is being written."""
        self.model._initial_epoch = None
        self._close()

    # ---- checkpoints

    @property
    def _step(self) -> int:
        return self._at[0] * self._n_batches + self._at[1]

    def _open(self) -> None:
        """Take the directory; from an earlier `fit` of this thread, too, which is over."""
        thread = threading.get_ident()
        for store, its in [*_open.items()]:
            if (store.directory, its) == (self._directory, thread):
                _open.pop(store)
                store.close()
        self._store = Store(self._directory, self._checkpoint.keep)
        _open[self._store] = thread

    def _close(self) -> None:
        store, self._store = self._store, None
        if store is not None:
            _open.pop(store, None)
            store.close()

    def _is_due(self) -> bool:
        if self._store is None:
            return False
        return self._timer.is_due(self._step - self._last_step) or self._timer.is_time(self._store)

    def _save(self) -> None:
        start = time.monotonic()
        if self._store is not None:
            contents.save(self._store, self._step, self._state, self._facts)
        self._last_step = self._step
        self._timer.saved(time.monotonic() - start)

    def _facts(self) -> dict[str, Any]:
        epoch, n_done = self._at
        feeds: list[dict[str, Any]] = []
        for feed in (feed.indexed for feed in self._feeds):
            is_within = n_done and not feeds
            own = feed.epoch if is_within else feed.next_epoch
            feeds.append({"epoch": own, "fingerprint": feed.fingerprint})
        place = {"epoch": epoch, "batch": n_done, "feeds": feeds}
        place["stopped"] = bool(self.model.stop_training)
        logs: dict[str, Any] = self._logs or {}
        values = {name: float(value) for name, value in logs.items()}
        return {"run_id": self._run_id, "fit": place, "values": values}

    def _state(self, taking: contents.Taking) -> dict[str, Any]:
        from batchflow.models.states import Writing  # on use: with what knows the frameworks

        return {
            "model": Writing(*taking).write(self.model, "model", "the model"),
            "generators": taking.encode(global_states(), "the global random generators"),
        }

    def _put_back(self) -> None:
        from batchflow.models import keras_metrics
        from batchflow.models.states import Reading

        state, decode = contents.read(self._saved or "")
        if self._at[1]:  # inside of an epoch the metrics go on, which are made on first use
            self.model._symbolic_build(data_batch=self._feeds[0].indexed.read(self._at[1]))
        Reading(self._saved or "", decode).put(self.model, state["model"], "model", "the model")
        keras_metrics.waiting.pop(self.model, None)  # at the border of an epoch Keras resets them
        set_global_states(decode(state["generators"]))


@functools.cache
def _callback_class(cls: type[Resume]) -> type[Resume]:
    """Make the class of the callback.

    Raises:
        MissingPackageError: Keras is not installed.
    """
    keras: Any = imported("keras", "Resume")
    return type(cls.__name__, (cls, keras.callbacks.Callback), {"__doc__": cls.__doc__})


def _arguments_of_fit() -> dict[str, Any]:
    """Return what `fit` has been called with: Keras tells its callbacks nothing of the data."""
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name == "fit" and {"epochs", "epoch_iterator"} <= {*frame.f_locals}:
            return dict(frame.f_locals)
        frame = frame.f_back  # type: ignore[assignment]
    raise ArgumentTypeError("Resume is a callback of model.fit, and of nothing else")


def _feeds_in(arguments: dict[str, Any], own: Resume) -> list[KerasFeed]:
    """Return the data that are trained on, and those of the validation, if they are a feed.

    Raises:
        ArgumentTypeError: The data are no feed.
        ArgumentValueError: An argument of `fit` makes other batches, or others' epochs, of it.
    """
    feeds = [arguments["x"], arguments.get("val_x", arguments.get("validation_data"))]
    if not isinstance(feeds[0], KerasFeed):
        raise ArgumentTypeError(
            "Resume goes with model.fit(feed.to_keras(), ...), which can begin inside of an "
            f"epoch, got {feeds[0]!r:.60}"
        )
    if arguments.get("steps_per_epoch") is not None:
        raise ArgumentValueError(
            "Resume: steps_per_epoch makes other epochs than the feed has: leave it out"
        )
    given = getattr(arguments.get("callbacks"), "callbacks", [own])
    later = [type(one).__name__ for one in given[given.index(own) + 1 :]]
    if others := [name for name in later if name not in _BEHIND]:
        raise ArgumentValueError(
            f"Resume stands last in callbacks, so that it saves what the others have done: put "
            f"{', '.join(others)} in front of it"
        )
    adapter: Any = arguments["epoch_iterator"].data_adapter
    holders: list[Any] = [adapter, getattr(adapter, "enqueuer", None)]
    for holder in holders:
        if getattr(holder, "shuffle", False):
            holder.shuffle = False
    is_known = isinstance(feeds[1], KerasFeed) and not feeds[1].is_stream
    return feeds if is_known else feeds[:1]
