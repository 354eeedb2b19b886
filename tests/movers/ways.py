"""The ways to run a pipeline that must give the same bits."""

import numpy as np

WAYS = {
    "serial": {"executor": "serial"},
    "threads": {"prefetch": 4},
    "processes": {"executor": "processes", "n_workers": 2},
}


def bits(batches, names):
    """Give all that batches hold, in a form that is equal only bit for bit."""
    return [
        (batch.number, batch.indices.tolist(), [frozen(getattr(batch, name)) for name in names])
        for batch in batches
    ]


def frozen(value):
    """Give the bytes of the arrays in a value."""
    if isinstance(value, np.ndarray) and value.dtype != object:
        return value.shape, str(value.dtype), value.tobytes()
    if isinstance(value, (list, tuple, np.ndarray)):
        return [frozen(part) for part in value]
    if isinstance(value, dict):
        return {key: frozen(part) for key, part in value.items()}
    return value
