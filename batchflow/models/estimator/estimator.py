"""Estimator: trains, evaluates, predicts and exports by a model function."""

from __future__ import annotations

import copy
import functools
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self

from numpy.typing import NDArray

from batchflow.errors import ArgumentTypeError, ArgumentValueError
from batchflow.extras import imported
from batchflow.models.estimator.batches import Batch, Signature
from batchflow.models.estimator.checkpoints import Checkpoints, Saved
from batchflow.models.estimator.config import RunConfig, whole_number
from batchflow.models.estimator.events import has_tensorboard, write_results
from batchflow.models.estimator.export import check_receiver, export
from batchflow.models.estimator.hooks import check_hooks
from batchflow.models.estimator.inference import Reader, evaluate, predict
from batchflow.models.estimator.inputs import Epoch, batches_of
from batchflow.models.estimator.model_fn import call_model_fn, check_model_fn
from batchflow.models.estimator.program import Program, build_in_scope
from batchflow.models.estimator.spec import EstimatorSpec, Modes, ServingInputReceiver
from batchflow.models.estimator.training import Trainer

__all__ = ["Estimator"]


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
        if params is not None and not isinstance(params, Mapping):
            raise ArgumentTypeError(
                f"Estimator: params is a dictionary, got {type(params).__name__}"
            )
        self._names = check_model_fn(model_fn, params)
        self._model_fn: Any = model_fn
        self._params = copy.deepcopy(dict(params or {}))
        self.config = RunConfig.of(config, model_dir)
        self.model_dir = str(self.config.model_dir)
        self._checkpoints = Checkpoints(self.model_dir, self.config.keep_checkpoint_max)
        self._trainer = Trainer(
            functools.partial(self._build, Modes.TRAIN), self._checkpoints, self.config
        )
        self._readers = {
            mode: Reader(functools.partial(self._build, mode))
            for mode in (Modes.EVAL, Modes.PREDICT)
        }
        self._lock = threading.RLock()  # of the live program

    @property
    def params(self) -> dict[str, Any]:
        """A copy of the hyperparameters."""
        return copy.deepcopy(self._params)

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
            open_input = functools.partial(
                _opened, input_fn, is_counted=is_counted, n_epochs=None if is_counted else 1
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
        batches = batches_of(input_fn, what="evaluate", is_counted=steps is not None)
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
        batches = (batch.without_labels() for batch in batches_of(input_fn, what="predict"))
        yield from predict(self._readers[Modes.PREDICT], saved, batches, predict_keys, checked)

    def train_on_batch(
        self, features: Any, labels: Any = None, sample_weight: Any = None
    ) -> dict[str, Any]:
        """Do one step on one batch, in memory: the method to call in an `@action`.

        No hooks are called. Checkpoints are saved as the config says. `evaluate`, `predict` and
        other methods that need one save it first if there is none of this state.

        Returns:
            `{"loss": ...}`, of this batch: a number that is read from its device when it is used.
        """
        _keras()
        with self._lock:
            return self._trainer.step(Batch.of((features, labels, sample_weight)))

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
        program, receiver = build_in_scope(
            functools.partial(self._served, serving_input_receiver_fn), self.config.tf_random_seed
        )
        base = os.fspath(export_dir_base)
        return export(program, receiver, saved, base, assets_extra, as_text)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Save the newest checkpoint as one file, for `load` and for `save_model` in a pipeline."""
        with self._lock:
            self._trainer.save_if_ahead()
            self._checkpoints.pack(path)

    def load(self, path: str | os.PathLike[str]) -> None:
        """Go back to the state in a file of `save`: it becomes the newest checkpoint.

        Raises:
            ArgumentValueError: (a `ValueError`) The file is damaged, or of another kind.
        """
        with self._lock:
            self._checkpoints.unpack(path)
            self._trainer.forget()

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
        name = getattr(self._model_fn, "__name__", type(self._model_fn).__name__)
        return f"<Estimator of {name} in {self.model_dir}>"

    # ---- inside

    def _build(self, mode: Modes, signature: Signature) -> Program:
        def make_spec(inputs: Batch) -> EstimatorSpec:
            return self._spec(mode, inputs)

        program = Program.build(make_spec, signature, self.config.tf_random_seed)
        program.summary_dir = self.model_dir
        if mode is not Modes.TRAIN:
            self._leave_alone(program)
        return program

    def _leave_alone(self, program: Program) -> None:
        """Restart training from its checkpoint if a program changes its weights."""
        if program.shares:
            with self._lock:
                self._trainer.forget()

    def _spec(self, mode: Modes, inputs: Batch) -> EstimatorSpec:
        values = {
            **inputs._asdict(),
            "mode": mode,
            "params": copy.deepcopy(self._params),
            "config": self.config,
            "model_dir": self.model_dir,
        }
        return call_model_fn(self._model_fn, self._names, values)

    def _served(
        self, receiver_fn: Callable[[], ServingInputReceiver]
    ) -> tuple[Program, ServingInputReceiver]:
        receiver = check_receiver(receiver_fn())
        spec = self._spec(Modes.PREDICT, Batch(receiver.features))
        program = Program.of_receiver(spec, receiver)
        self._leave_alone(program)
        return program, receiver

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
