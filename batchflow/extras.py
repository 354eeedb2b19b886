"""Optional packages: imported on use, with advice on how to install those that are missing."""

from __future__ import annotations

import importlib
from typing import Any

from batchflow.errors import MissingPackageError

# By package, the extra of batchflow that installs it.
_EXTRAS = {
    "cloudpickle": "processes",
    "dask": "dask",
    "distributed": "dask",
    "h5py": "hdf5",
    "jax": "jax",
    "keras": "tensorflow",
    "pyarrow": "parquet",
    "ray": "ray",
    "tensorboard": "tensorflow",
    "tensorflow": "tensorflow",
    "tf_keras": "legacy",
    "torch": "torch",
    "zarr": "zarr",
}
_BACKENDS = ("tensorflow", "jax", "torch")


def imported(package: str, user: str) -> Any:
    """Import a package, or a module of one.

    Args:
        package: Its name.
        user: The feature that needs it: the first words of the message.

    Returns:
        The module.

    Raises:
        MissingPackageError: (a `ModuleNotFoundError`) The package, or one that it needs, is not
            installed.
    """
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        advice = advice_on(error) or f"{error}"
        raise MissingPackageError(f"{user} needs the package {package}; {advice}") from error


def advice_on(error: BaseException) -> str | None:
    """Return advice on a failed import of one of these packages.

    Args:
        error: Any exception.

    Returns:
        Half a sentence; None for any other exception.
    """
    if isinstance(error, MissingPackageError) or not isinstance(error, ModuleNotFoundError):
        return None
    package = (error.name or "").partition(".")[0]
    if package not in _EXTRAS:
        return None
    # Not by the name of this package: the registry has another project of that name.
    install = f"pip install '.[{_EXTRAS[package]}]' in a checkout of batchflow"
    if package in _BACKENDS and _is_raised_by_keras(error):
        others = " or ".join(repr(name) for name in _BACKENDS if name != package)
        return (
            f"Keras works on {package} here, which is not installed: {install}, or set "
            f"KERAS_BACKEND to {others} before Keras is imported"
        )
    return f"{package} is not installed: {install}"


def _is_raised_by_keras(error: BaseException) -> bool:
    traceback = error.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_globals.get("__name__", "").startswith("keras."):
            return True
        traceback = traceback.tb_next
    return False
