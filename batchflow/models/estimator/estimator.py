"""Estimator: trains, evaluates, predicts and exports by a model function."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self

from numpy.typing import NDArray

from batchflow.errors import ArgumentValueError
from batchflow.extras import imported
from batchflow.models.estimator.batches import Batch
from batchflow.models.estimator.checkpoints import Checkpoints, Live, Saved
from batchflow.models.estimator.config import RunConfig, whole_number
from batchflow.models.estimator.events import has_tensorboard, write_results
from batchflow.models.estimator.export import export
from batchflow.models.estimator.hooks import check_hooks
from batchflow.models.estimator.inference import Reader, evaluate, predict, predict_batch
from batchflow.models.estimator.inputs import Epoch, batches_of
from batchflow.models.estimator.program import Program
from batchflow.models.estimator.programs import Programs
from batchflow.models.estimator.spec import EstimatorSpec, Modes, ServingInputReceiver
from batchflow.models.estimator.training import Trainer


class Estimator:
    """A model that trains, evaluates and predicts as a model function describes.

    The model function is called once per mode, with symbolic tensors of the shapes of the first
    batch, and returns an `EstimatorSpec` of tensors that it has computed from them. Weights go from
    one mode to another through checkpoints in `model_dir`, where a later Estimator finds them.

    Args:
        model_fn: Takes some of `features`, `labels`, `mode`, `params`, `config`, `model_dir` and
            `sample_weight`, by name, in any order; `features` at least. Returns an `EstimatorSpec`.
            In `Modes.PREDICT`, `labels` is None.
        model_dir: The folder of checkpoints and summaries. Training goes on from the newest
            checkpoint there. None: that of `config`, or else a temporary folder.
        config: A `RunConfig`.
        params: A dictionary of hyperparameters, for the model function. It is copied.

    Raises:
        ArgumentValueError: (a `ValueError`) The parameters of `model_fn` do not fit: `features` is
            missing, one is not known, or there are `params` and it takes none. Or `model_dir` and
            that of `config` differ.
        ArgumentTypeError: (a `TypeError`) An argument is of another type.

    Attributes:
        model_dir: The folder.
        config: The `RunConfig`, with that folder.
    """

    model_dir: str
    config: RunConfig

    def __init__(
        self,
        model_fn: Callable[..., EstimatorSpec] | None = None,
        model_dir: str | os.PathLike[str] | None = None,
        config: RunConfig | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> None:
        self._programs = Programs(model_fn, params)
        self.config = self._programs.config = RunConfig.of(config, model_dir)
        self.model_dir = str(self.config.model_dir)
        self._checkpoints = Checkpoints(self.model_dir, self.config.keep_checkpoint_max)
        self._trainer = Trainer(self._programs.builder(Modes.TRAIN), self._checkpoints, self.config)
        self._lock = self._trainer.lock  # of the live program
        self._has_said = False  # that an input_fn is called once
        modes = (Modes.EVAL, Modes.PREDICT)
        # Of checkpoints, and of the state in memory.
        build = self._programs.builder
        self._readers = {mode: Reader(build(mode, self._leave_alone)) for mode in modes}
        self._live_readers = {mode: Reader(build(mode)) for mode in modes}

    @property
    def params(self) -> dict[str, Any]:
        """A copy of the hyperparameters."""
        return self._programs.params

    def train(
        self,
        input_fn: Any = None,
        steps: int | None = None,
        hooks: Sequence[Any] | None = None,
        max_steps: int | None = None,
    ) -> Self:
        """Train, and save a checkpoint at the end.

        Training ends with the input, after `steps`, or at `max_steps`, whichever is first. Without
        either of them, one pass over the input is made.

        With `max_steps` a call goes on where the last one has stopped, also in its input: batches
        that were trained on are left out. So a process that is killed and started again ends with
        the same weights as one that was not, if the input repeats the same batches. After an input
        was read to its end, the next call begins it anew.

        Args:
            input_fn: A function that returns one batch `(features, labels)` of arrays, which is
                trained on again and again, or an iterable of batches: a generator,
                `pipeline.feed(...)`, a `tf.data.Dataset`, a `keras.utils.PyDataset`. Features and
                labels are arrays or dictionaries of arrays; sample weights may be the third part
                of a batch. Its result may be given instead of the function.
            steps: How many steps to train, in addition to those before.
            hooks: A list of `keras.callbacks.Callback`s, or of objects with the methods `begin`,
                `before_run`, `after_run`, `end`.
            max_steps: The global step to train to.

        Returns:
            The Estimator itself.

        Raises:
            ArgumentValueError: (a `ValueError`) `steps` and `max_steps` are both given, or are not
                positive; the input is empty; `model_fn` returns something else than an
                `EstimatorSpec`.
            ArgumentTypeError: (a `TypeError`) A hook is something else, or the input.
        """
        _keras()
        if steps is not None and max_steps is not None:
            raise ArgumentValueError("train: give steps (more of them) or max_steps (in all)")
        steps = whole_number(steps, "train: steps")
        max_steps = whole_number(max_steps, "train: max_steps")
        checked = check_hooks(hooks, "train")
        with self._lock:
            done = self._trainer.progress().step
            if max_steps is not None and done >= max_steps:
                return self
            is_counted = steps is not None or max_steps is not None
            n_epochs = None if is_counted else 1
            open_input = functools.partial(
                _opened, input_fn, is_counted=is_counted, n_epochs=n_epochs, say=self._say_once
            )
            until = max_steps if steps is None else done + steps
            self._trainer.run(open_input, until, checked, resumes=max_steps is not None)
        return self

    def evaluate(
        self,
        input_fn: Any = None,
        steps: int | None = None,
        hooks: Sequence[Any] | None = None,
        checkpoint_path: str | os.PathLike[str] | None = None,
        name: str | None = None,
    ) -> dict[str, Any]:
        """Evaluate a checkpoint.

        Args:
            input_fn: As for `train`. The evaluation ends with the input, or after `steps`.
            steps: How many batches to evaluate. None: all.
            hooks: As for `train`.
            checkpoint_path: The checkpoint. None: the newest.
            name: The name of the data. Its summaries are in the folder `eval_<name>` beside the
                checkpoints. They are written if the package `tensorboard` is installed.

        Returns:
            The metrics by name, `"loss"` (the mean over the items) and `"global_step"`.

        Raises:
            ArgumentValueError: (a `ValueError`) There is no checkpoint, the input is empty, `steps`
                is not positive, or the metrics of the spec are no dictionary.
            ArgumentTypeError: (a `TypeError`) A hook is something else, or the input.
        """
        _keras()
        steps = whole_number(steps, "evaluate: steps")
        checked = check_hooks(hooks, "evaluate")
        saved = self._saved(checkpoint_path)
        batches = batches_of(
            input_fn, what="evaluate", is_counted=steps is not None, say=self._say_once
        )
        results = evaluate(self._readers[Modes.EVAL], saved, batches, steps, checked)
        if has_tensorboard():
            folder = os.path.join(self.model_dir, f"eval_{name}" if name else "eval")
            write_results(folder, results)
        return results

    def predict(
        self,
        input_fn: Any = None,
        predict_keys: Sequence[str] | None = None,
        hooks: Sequence[Any] | None = None,
        checkpoint_path: str | os.PathLike[str] | None = None,
    ) -> Iterator[Any]:
        """Predict, item by item. Nothing happens before the first item is asked for.

        Args:
            input_fn: As for `train`; labels are left out.
            predict_keys: The names of the predictions to yield, if the model has a dictionary of
                them. None: all.
            hooks: As for `train`.
            checkpoint_path: The checkpoint. None: the newest.

        Yields:
            The predictions of an item: an array, or a dictionary of arrays.

        Raises:
            ArgumentValueError: (a `ValueError`) There is no checkpoint; the predictions of a batch
                have different numbers of items; `predict_keys` does not fit the predictions.
            ArgumentTypeError: (a `TypeError`) A hook is something else, or the input.
        """
        _keras()
        checked = check_hooks(hooks, "predict")
        saved = self._saved(checkpoint_path)
        given = batches_of(input_fn, what="predict", say=self._say_once)
        batches = (batch.without_labels() for batch in given)
        yield from predict(self._readers[Modes.PREDICT], saved, batches, predict_keys, checked)

    def train_on_batch(
        self, features: Any, labels: Any = None, sample_weight: Any = None
    ) -> dict[str, Any]:
        """Do one step, in memory: the method to call in an `@action`.

        The steps of a run of a pipeline are as those of one call of `train`, with its hooks, log
        and checkpoints. `evaluate`, `predict` and other methods that need a checkpoint save one
        first if there is none of this state.

        Returns:
            `{"loss": ...}`, of this batch: a number that is read from its device when it is used.

        Raises:
            StopPipeline: A hook has asked to stop in the step before: the run ends here.
        """
        batch = self._batch(features, labels, sample_weight)
        with self._lock:
            return self._trainer.step(batch)

    def predict_on_batch(
        self,
        features: Any,
        predict_keys: Sequence[str] | None = None,
        hooks: Sequence[Any] | None = None,
        checkpoint_path: str | os.PathLike[str] | None = None,
    ) -> Any:
        """Predict one batch, with the weights in memory: no checkpoint is saved for it.

        The arguments are those of `predict`. Returns an array, or a dictionary of arrays.
        """
        readers, state = self._state(checkpoint_path)
        batch = self._batch(features)
        reader, told = readers[Modes.PREDICT], check_hooks(hooks, "predict")
        return predict_batch(reader, state, batch, predict_keys, told)

    def test_on_batch(
        self, features: Any, labels: Any = None, sample_weight: Any = None
    ) -> dict[str, Any]:
        """Evaluate one batch, with the weights in memory: no checkpoint is saved for it.

        Returns:
            As `evaluate`: the metrics by name, `"loss"` and `"global_step"`.
        """
        batches = (one for one in [self._batch(features, labels, sample_weight)])
        readers, state = self._state(None)
        return evaluate(readers[Modes.EVAL], state, batches, None, ())

    def export_savedmodel(
        self,
        export_dir_base: str | os.PathLike[str],
        serving_input_receiver_fn: Callable[[], ServingInputReceiver] | None,
        assets_extra: Mapping[str, str] | None = None,
        as_text: bool = False,
        checkpoint_path: str | os.PathLike[str] | None = None,
    ) -> str:
        """Write the model as a SavedModel of TensorFlow, in a folder named by the time.

        There is one signature for each of the spec's `export_outputs`; `serving_default` is one of
        them, or the only one. Their inputs are the `receiver_tensors`.

        Args:
            export_dir_base: The parent of the folder. It is made if need be.
            serving_input_receiver_fn: Takes no arguments and returns a `ServingInputReceiver` of
                `keras.Input`s, and of features that are computed from them.
            assets_extra: Files to copy into `assets.extra`: from the path there to the path here.
            as_text: Write `saved_model.pbtxt` instead of `saved_model.pb`.
            checkpoint_path: The checkpoint. None: the newest.

        Returns:
            The path of the folder.

        Raises:
            ArgumentValueError: (a `ValueError`) There is no `serving_input_receiver_fn`, no
                `export_outputs` or no checkpoint; or an asset is missing.
            ArgumentTypeError: (a `TypeError`) The function returns something else.
            BatchflowError: The backend of Keras is torch.
            MissingPackageError: TensorFlow is not installed.
        """
        _keras()
        if serving_input_receiver_fn is None:
            raise ArgumentValueError(
                "export_savedmodel: serving_input_receiver_fn is missing: a function that returns "
                "ServingInputReceiver(features, receiver_tensors)"
            )
        saved = self._saved(checkpoint_path)
        program, receiver = self._programs.served(serving_input_receiver_fn)
        self._leave_alone(program)
        return export(program, receiver, saved, os.fspath(export_dir_base), assets_extra, as_text)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Save the newest checkpoint as one file, for `load` and for `save_model` in a pipeline."""
        with self._lock:
            self._trainer.save_if_ahead()
            self._checkpoints.pack(path)

    def snapshot(self, path: str | os.PathLike[str]) -> None:
        """Save the state in memory as one file for `load`, and leave the folder as it is."""
        self._trainer.snapshot(path)

    def load(self, path: str | os.PathLike[str]) -> None:
        """Go back to the state in a file of `save` or `snapshot`: it becomes the newest checkpoint.

        Raises:
            ArgumentValueError: (a `ValueError`) The file is damaged, or of another kind.
        """
        with self._lock:
            self._checkpoints.unpack(path)
            self._trainer.end_steps(failed=True)
            self._trainer.forget()

    def watch_run(self) -> Callable[[bool], None]:
        """Return what a run calls when it ends, with whether an error has ended it."""
        before = self._trainer.n_steps

        def end(failed: bool) -> None:
            with self._lock:
                # A run that looks on inside of another one does not end its steps.
                if self._trainer.n_steps != before:
                    self._trainer.end_steps(failed=failed)

        return end

    def latest_checkpoint(self) -> str | None:
        """Return the path of the newest checkpoint, or None."""
        return self._checkpoints.latest()

    def get_variable_names(self) -> list[str]:
        """Return the names of all variables of the newest checkpoint.

        Raises:
            ArgumentValueError: (a `ValueError`) There is no checkpoint.
        """
        return self._saved(None).names()

    def get_variable_value(self, name: str) -> NDArray[Any]:
        """Return the value of a variable in the newest checkpoint.

        Raises:
            ArgumentValueError: (a `ValueError`) There is no checkpoint.
            UnknownNameError: (a `KeyError`) There is no variable of that name.
        """
        return self._saved(None).value(name)

    def __repr__(self) -> str:
        return f"<Estimator of {self._programs!r} in {self.model_dir}>"

    # ---- inside

    def _leave_alone(self, program: Program) -> None:
        """Restart training from its checkpoint if a program changes its weights."""
        if program.shares:
            with self._lock:
                self._trainer.forget()

    def _say_once(self, fact: str) -> None:
        if not self._has_said:
            self._has_said = True
            logging.getLogger("batchflow").warning(fact)

    def _batch(self, *parts: Any) -> Batch:
        _keras()
        return Batch.of(parts)

    def _state(
        self, path: str | os.PathLike[str] | None
    ) -> tuple[dict[Modes, Reader], Live | Saved]:
        """Return the state in memory, or else a checkpoint, and what reads it."""
        with self._lock:
            live = self._trainer.live() if path is None else None
            return (self._live_readers, live) if live else (self._readers, self._saved(path))

    def _saved(self, path: str | os.PathLike[str] | None) -> Saved:
        """Return a checkpoint, by default the newest. A state in memory alone is saved first."""
        with self._lock:
            latest = self._trainer.save_if_ahead()
        path = latest if path is None else path
        if path is None:
            raise ArgumentValueError(
                f"there is no trained model in {self.model_dir}: call train first, or give the "
                "model_dir of one"
            )
        return Saved.at(path)


def _keras() -> Any:
    return imported("keras", "an Estimator")


def _opened(input_fn: Any, skipping: int, epoch: Epoch, **options: Any) -> Iterator[Batch]:
    return batches_of(input_fn, what="train", skipping=skipping, epoch=epoch, **options)
