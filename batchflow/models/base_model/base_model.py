"""BaseModel: a graph function, a loss, an optimizer and metrics, as an `EstimatorSpec`."""

from __future__ import annotations

import inspect
import numbers
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from batchflow.errors import ArgumentTypeError, ArgumentValueError, did_you_mean
from batchflow.models.base_model import heads, summaries
from batchflow.models.base_model.clipping import clip, clipped_optimizer, is_on
from batchflow.models.base_model.configs import optimizer_of
from batchflow.models.base_model.keras import keras
from batchflow.models.base_model.parts import part_of
from batchflow.models.estimator.model_fn import parameters_of, telling, title_of
from batchflow.models.estimator.spec import EstimatorSpec, Modes, is_symbolic, leaves

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_\-]*")  # torch has no dots in names
_GRAPH_PARAMETERS = ("mode", "features", "inputs", "labels", "params", "config")


class _Types:
    """The types of models."""

    REGRESSOR = "Regressor"
    CLASSIFIER = "Classifier"
    GENERATOR = "Generator"
    RL = "RL"

    VALUES = (REGRESSOR, CLASSIFIER, GENERATOR, RL)


class BaseModel:
    """A model: a graph function, a loss, an optimizer and metrics.

    A model function calls it with its own tensors, and returns the `EstimatorSpec` that it gets. A
    subclass changes a part by overriding its method. The parts are called in this order:
    `_preprocess`, the graph function, `_build_loss`, `_build_eval_metrics`, `_build_train_op`,
    `_build_summary_op`, `_build_predictions`.

    Args:
        mode: One of `Modes`, or its value.
        model_type: `"Regressor"`, `"Classifier"`, `"Generator"` or `"RL"`.
        graph_fn: Computes the results. It takes `mode`, `features` (or `inputs`) and optionally
            `labels`, `params` and `config`, by name, and returns a tensor, or a dictionary of
            tensors where there are several heads.
        loss: An identifier of Keras, a config dictionary, a `keras.losses.Loss`, or a function of
            labels and results. A dictionary of them by head.
        optimizer: An identifier, a config dictionary or a `keras.optimizers.Optimizer`. None: Adam
            with a learning rate of 0.001.
        metrics: A list of identifiers, config dictionaries, `keras.metrics.Metric`s or functions,
            or a dictionary of such lists by head.
        summaries: The summaries for TensorBoard that are written while the model trains: `"all"`,
            or one or a list of `"activations"`, `"loss"`, `"learning_rate"`, `"variables"`,
            `"gradients"`; None or an empty list: nothing.
        clip_gradients: The largest global norm of the gradients. None or 0: any.
        clip_embed_gradients: The largest norm of the gradient of an embedding, after that. None or
            0: any.
        name: The name of the model, which begins the names of its variables.

    Raises:
        ArgumentTypeError: (a `TypeError`) The mode is for generators, and the model is none; or an
            argument is of another type.
        ArgumentValueError: (a `ValueError`) `graph_fn` is missing or does not take `mode` and
            `features`; or the mode, the type or a kind of summary is not known.
    """

    Types = _Types

    def __init__(
        self,
        mode: Any,
        model_type: str,
        graph_fn: Callable[..., Any] | None,
        loss: Any,
        optimizer: Any = None,
        metrics: Any = None,
        summaries: Any = "all",
        clip_gradients: float | None = 0.5,
        clip_embed_gradients: float | None = 0.1,
        name: str = "Model",
    ) -> None:
        self.mode = Modes.of(mode)
        _check_type(model_type, self.mode)
        self.model_type = model_type
        self._graph_parameters = _check_graph_fn(graph_fn)
        self._graph_fn: Any = graph_fn
        self.loss = loss
        self.optimizer = optimizer
        self.metrics = metrics
        self.summaries = _kinds(summaries)
        self.clip_gradients = _threshold(clip_gradients, "clip_gradients")
        self.clip_embed_gradients = _threshold(clip_embed_gradients, "clip_embed_gradients")
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ArgumentValueError(
                f"name is a word of letters, digits, '_' and '-', and does not begin with '_' "
                f"or '-', got {name!r}"
            )
        self.name = name
        self._params: Any = None
        self._config: Any = None
        self._losses: Any = None
        self._sample_weight: Any = None

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Return a model from a dictionary of its arguments.

        Raises:
            ArgumentTypeError: (a `TypeError`) An argument is not known, or one is missing.
        """
        known = list(inspect.signature(cls).parameters)
        for key in config:
            if key not in known:
                raise ArgumentTypeError(
                    f"{cls.__name__} has no argument {key!r}.{did_you_mean(key, known)}"
                )
        try:
            inspect.signature(cls).bind(**config)
        except TypeError as error:
            raise ArgumentTypeError(f"{cls.__name__}.from_config: {error}") from error
        return cls(**config)

    def __call__(
        self,
        features: Any,
        labels: Any = None,
        params: Any = None,
        config: Any = None,
        *,
        sample_weight: Any = None,
    ) -> EstimatorSpec:
        """Build the model.

        Args:
            features: A symbolic tensor or a dictionary of them.
            labels: The same, or None.
            params: Hyperparameters, for a `graph_fn` that takes them.
            config: The `RunConfig`: how often summaries are written.
            sample_weight: A tensor: the weight of each item's loss.

        Returns:
            The `EstimatorSpec` of the mode.

        Raises:
            ArgumentValueError: (a `ValueError`) Labels are missing where the mode needs them, or do
                not fit the results or the loss.
            ArgumentTypeError: (a `TypeError`) `graph_fn` returns something else than tensors.
        """
        self._sample_weight = sample_weight
        with keras().name_scope(self.name):
            spec: EstimatorSpec = part_of(
                self, "_build", features=features, labels=labels, params=params, config=config
            )
            return spec

    # ---- the parts, to be overridden

    def _build(
        self, features: Any, labels: Any, params: Any = None, config: Any = None
    ) -> EstimatorSpec:
        """Build the parts of the model, in their order."""
        self._params, self._config, self._losses = params, config, None
        features, labels = part_of(self, "_preprocess", features=features, labels=labels)
        results = self._call_graph_fn(features, labels)
        parts = {"results": results, "features": features, "labels": labels}
        if Modes.is_infer(self.mode):
            predictions = part_of(self, "_build_predictions", **parts)
            served = {
                name: tensor
                for name, tensor in predictions.items()
                if name.partition(".")[0] == "results"
            }
            outputs = {"serving_default": served} if served else None
            return EstimatorSpec(self.mode, predictions=predictions, export_outputs=outputs)
        self._losses, loss = part_of(self, "_build_loss", **parts)
        metrics = part_of(self, "_build_eval_metrics", **parts)
        train_op, hooks = None, []
        if Modes.is_train(self.mode):
            train_op = part_of(self, "_build_train_op", loss=loss)
            summary_op = part_of(self, "_build_summary_op", **parts)
            hooks = [] if summary_op is None else [summary_op]
        return EstimatorSpec(
            self.mode,
            predictions=part_of(self, "_build_predictions", **parts),
            loss=loss,
            train_op=train_op,
            eval_metric_ops=metrics,
            training_hooks=hooks,
        )

    def _preprocess(self, features: Any, labels: Any) -> tuple[Any, Any]:
        """Return features and labels in the form that the graph function takes."""
        return features, labels

    def _build_loss(self, results: Any, features: Any, labels: Any) -> tuple[Any, Any]:
        """Return `(losses, loss)`: the loss of each item, and their mean, to be minimized."""
        return heads.losses_of(
            self.loss, self._targets(features, labels), results, self._sample_weight
        )

    def _build_eval_metrics(self, results: Any, features: Any, labels: Any) -> dict[str, Any]:
        """Return the metrics: by name, `(metric, labels, results)`."""
        return heads.metrics_of(self.metrics, self._targets(features, labels), results)

    def _build_optimizer(self) -> Any:
        """Return the optimizer, without clipping."""
        return optimizer_of(self.optimizer)

    def _clip_gradients_fn(self, grads_and_vars: Sequence[tuple[Any, Any]]) -> Any:
        """Return gradients clipped by their global norm, then those of embeddings by their own.

        Args:
            grads_and_vars: Pairs of a gradient (or None) and its variable.

        Returns:
            The same pairs, with other gradients.
        """
        return clip(grads_and_vars, self.clip_gradients, self.clip_embed_gradients, self.name)

    def _build_train_op(self, loss: Any) -> Any:  # noqa: ARG002  an override may look at it
        """Return the optimizer that trains: one that clips gradients first."""
        optimizer = part_of(self, "_build_optimizer")
        if type(self)._clip_gradients_fn is not BaseModel._clip_gradients_fn:

            def clip_fn(pairs: Sequence[tuple[Any, Any]]) -> Any:
                return part_of(self, "_clip_gradients_fn", grads_and_vars=pairs)

            return clipped_optimizer(optimizer, clip_fn=clip_fn)
        if not (is_on(self.clip_gradients) or is_on(self.clip_embed_gradients)):
            return optimizer
        return clipped_optimizer(
            optimizer, self.clip_gradients, self.clip_embed_gradients, model_name=self.name
        )

    def _build_summary_op(
        self,
        results: Any = None,  # noqa: ARG002  the same
        features: Any = None,  # noqa: ARG002
        labels: Any = None,  # noqa: ARG002
    ) -> Any:
        """Return the hook that writes the summaries; None if there are none."""
        every = getattr(self._config, "save_summary_steps", 100)
        return summaries.writing_hook(self.summaries, every) if self.summaries else None

    def _build_predictions(self, results: Any, features: Any, labels: Any) -> dict[str, Any]:
        """Return the dictionary of predictions.

        Returns:
            `results`, `features`, and, where they are known, `labels` and `losses`. The parts of a
            dictionary have names such as `results.digit`.
        """
        parts = {"results": results, "features": features, "labels": labels}
        found = [leaf for name, part in parts.items() for leaf in leaves(part, name)]
        if self._losses is not None:
            found.append(("losses", self._losses))
        return dict(found)

    @staticmethod
    def batch_size(features: Any, labels: Any = None) -> Any:  # noqa: ARG004
        """Return the number of items in a batch.

        Args:
            features: Arrays or tensors.
            labels: The same. They are not used.

        Returns:
            An int, or for symbolic tensors a symbolic integer.
        """
        named = leaves(features, "features")
        if not named:
            raise ArgumentValueError("batch_size: features is empty")
        first = named[0][1]
        return heads.n_items(first) if is_symbolic(first) else int(first.shape[0])

    # ---- inside

    def _call_graph_fn(self, features: Any, labels: Any) -> Any:
        values = {
            "mode": self.mode,
            "features": features,
            "inputs": features,
            "labels": labels,
            "params": self._params,
            "config": self._config,
        }
        what = title_of(self._graph_fn, "graph_fn")
        with telling(what, self.mode, features=features, labels=labels):
            results = self._graph_fn(**{name: values[name] for name in self._graph_parameters})
        if isinstance(results, list):
            results = tuple(results)
        named = leaves(results, "results")
        if not named or not all(is_symbolic(tensor) for _, tensor in named):
            raise ArgumentTypeError(
                "graph_fn returns a tensor, or a dictionary of tensors, computed from the "
                f"features, got {results!r:.80}"
            )
        return results

    def _targets(self, features: Any, labels: Any) -> Any:
        """Return the targets of the results. Generators reproduce their features."""
        if labels is None and self.model_type == _Types.GENERATOR:
            return features
        if labels is None:
            raise ArgumentValueError(
                f"{self.name}: labels are missing in the mode {self.mode.value!r}"
            )
        return labels


def _check_type(model_type: Any, mode: Modes) -> None:
    if model_type not in _Types.VALUES:
        raise ArgumentValueError(
            f"model_type is one of {', '.join(map(repr, _Types.VALUES))}, got {model_type!r}"
        )
    if mode in (Modes.GENERATE, Modes.ENCODE) and model_type != _Types.GENERATOR:
        raise ArgumentTypeError(
            f"the mode {mode.value!r} is one of generators, and this model is a {model_type}"
        )


def _check_graph_fn(graph_fn: Any) -> list[str]:
    if graph_fn is None:
        raise ArgumentValueError("graph_fn is missing: a function of mode and features")
    names = parameters_of(graph_fn, _GRAPH_PARAMETERS, "graph_fn")
    if "mode" not in names or not {"features", "inputs"} & set(names):
        raise ArgumentValueError(
            f"graph_fn has the parameters mode and features, got {', '.join(names) or 'none'}"
        )
    if {"features", "inputs"} <= set(names):  # of a function with **kwargs
        names.remove("inputs")
    return names


def _threshold(value: Any, name: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, numbers.Real):  # NumPy's are some, too
        raise ArgumentTypeError(f"{name} is a number or None, got {value!r:.60}")
    return float(value)


def _kinds(given: Any) -> tuple[str, ...]:
    return summaries.kinds_of(given)
