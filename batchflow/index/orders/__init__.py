"""Orders that say more than "shuffled": which items, how often, next to which others.

Each is a frozen description, given as `shuffle=`, that a run binds to its dataset.

Guarantees:
    - The order of an epoch is a pure function of (the description, the dataset, seed, epoch).
    - What follows from the dataset alone (tables, classes, blocks) is computed once and kept.
"""

from batchflow.index.orders.balanced import Balanced
from batchflow.index.orders.blocks import Shuffle
from batchflow.index.orders.bucketed import Bucketed
from batchflow.index.orders.weighted import Weighted

__all__ = ["Balanced", "Bucketed", "Shuffle", "Weighted"]
