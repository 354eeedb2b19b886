"""A model in the PREDICT mode as a SavedModel, for TensorFlow's own loader and servers.

Guarantees:
    - The folder gets its name when all of it is on the disk: a server that watches the parent never
      sees a part. A crash leaves `temp-<timestamp>`, which can be deleted.
"""

from __future__ import annotations

import importlib
import os
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from batchflow.errors import ArgumentTypeError, ArgumentValueError, BatchflowError
from batchflow.extras import imported
from batchflow.files import making_folder
from batchflow.models.estimator.checkpoints import Saved
from batchflow.models.estimator.program import Program
from batchflow.models.estimator.spec import ServingInputReceiver, is_symbolic, leaves

_DEFAULT = "serving_default"


def check_receiver(receiver: Any) -> ServingInputReceiver:
    """Check the result of a `serving_input_receiver_fn`.

    Raises:
        ArgumentTypeError: (a `TypeError`) The result is no `ServingInputReceiver` of Keras tensors.
    """
    if not isinstance(receiver, ServingInputReceiver):
        raise ArgumentTypeError(
            "serving_input_receiver_fn returns a ServingInputReceiver(features, receiver_tensors), "
            f"got {type(receiver).__name__}"
        )
    for name, part in zip(receiver._fields, receiver, strict=True):
        tensors = leaves(part, name)
        if not tensors or not all(is_symbolic(tensor) for _, tensor in tensors):
            raise ArgumentTypeError(
                f"ServingInputReceiver: {name} is a keras.Input or a dictionary of them, or what "
                f"is computed from such, got {part!r:.60}"
            )
    return receiver


def export(
    program: Program,
    receiver: ServingInputReceiver,
    saved: Saved,
    base: str,
    assets_extra: Mapping[str, str] | None,
    as_text: bool,
) -> str:
    """Write a SavedModel, and return its folder.

    Raises:
        ArgumentValueError: (a `ValueError`) The spec has no `export_outputs`, or several without a
            default; or an asset is missing or would be written elsewhere.
        BatchflowError: The backend of Keras is torch.
        MissingPackageError: TensorFlow is not installed.
    """
    outputs = _signatures(program.spec.export_outputs)
    assets = _checked_assets(assets_extra)
    if sys.modules["keras"].backend.backend() == "torch":
        raise BatchflowError(
            "export_savedmodel: Keras writes no SavedModel on the torch backend. Checkpoints are "
            "the same on all backends: export in a process with KERAS_BACKEND=tensorflow"
        )
    saved.restore_weights(program)
    os.makedirs(base, exist_ok=True)
    folder = _free_folder(base)
    with making_folder(folder) as temporary:
        _write_model(receiver, outputs, temporary)
        for source, target in assets:
            file = os.path.join(temporary, "assets.extra", target)
            os.makedirs(os.path.dirname(file), exist_ok=True)
            shutil.copyfile(source, file)
        if as_text:
            _as_text(temporary)
    return folder


def _signatures(outputs: Mapping[str, Any] | None) -> dict[str, dict[str, Any]]:
    if not outputs:
        raise ArgumentValueError(
            "export_savedmodel: the EstimatorSpec of Modes.PREDICT has no export_outputs: give "
            "{'serving_default': predictions}"
        )
    named = {
        str(name): dict(output) if isinstance(output, Mapping) else {"output": output}
        for name, output in outputs.items()
    }
    if _DEFAULT not in named:
        if len(named) > 1:
            raise ArgumentValueError(
                f"export_savedmodel: export_outputs has {sorted(named)} and no {_DEFAULT!r}, which "
                "says what is served where a request names no signature"
            )
        named[_DEFAULT] = next(iter(named.values()))
    return named


def _write_model(
    receiver: ServingInputReceiver,
    outputs: Mapping[str, dict[str, Any]],
    folder: str,
) -> None:
    keras = sys.modules["keras"]
    tf = _tensorflow()
    inputs = receiver.receiver_tensors
    named = dict(inputs) if isinstance(inputs, Mapping) else {_input_name(inputs): inputs}
    specs = [tf.TensorSpec(tensor.shape, tensor.dtype, name=key) for key, tensor in named.items()]
    archive = keras.export.ExportArchive()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about calls of Keras to jax and TensorFlow
        archive.track(keras.Model(list(named.values()), dict(outputs)))  # before any endpoint
        for name, output in outputs.items():
            model = keras.Model(list(named.values()), output)
            archive.add_endpoint(name, _endpoint(model), input_signature=specs)
        archive.write_out(folder, verbose=False)


def _endpoint(model: Any) -> Callable[..., Any]:
    return lambda *tensors: model(list(tensors), training=False)


def _input_name(tensor: Any) -> str:
    return str(tensor.name).partition(":")[0]


def _tensorflow() -> Any:
    return imported("tensorflow", "a SavedModel, which TensorFlow writes on any backend,")


def _as_text(folder: str) -> None:
    text_format = importlib.import_module("google.protobuf.text_format")
    binary = os.path.join(folder, "saved_model.pb")
    message = importlib.import_module("tensorflow.core.protobuf.saved_model_pb2").SavedModel()
    with open(binary, "rb") as stream:
        message.ParseFromString(stream.read())
    with open(os.path.join(folder, "saved_model.pbtxt"), "w", encoding="utf-8") as stream:
        stream.write(text_format.MessageToString(message))
    os.unlink(binary)


def _checked_assets(assets_extra: Mapping[str, str] | None) -> list[tuple[str, str]]:
    checked = []
    for target, source in (assets_extra or {}).items():
        normal = os.path.normpath(target)
        if os.path.isabs(normal) or normal.split(os.sep)[0] == os.pardir:
            raise ArgumentValueError(
                f"export_savedmodel: assets_extra: {target!r} lies outside of assets.extra"
            )
        if not os.path.isfile(source):
            raise ArgumentValueError(f"export_savedmodel: assets_extra: there is no file {source}")
        checked.append((source, normal))
    return checked


def _free_folder(base: str) -> str:
    """Return the path of a folder named by the time. It does not exist yet."""
    stamp = int(time.time())
    while os.path.exists(os.path.join(base, str(stamp))) or os.path.exists(
        os.path.join(base, f"temp-{stamp}")
    ):
        stamp += 1
    return os.path.join(base, str(stamp))
