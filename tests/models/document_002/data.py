"""The kinds of data that the document names, made of the same arrays."""

import numpy as np

KINDS = (
    "arrays",
    "list of arrays",
    "tensors",
    "dict of arrays",
    "dict of tensors",
    "tf.data",
    "generator",
    "Sequence",
)
SIZE = 8  # of the batches that the data are read in


def given_as(kind, upper, lower, y, keras=None):
    """Give two inputs and their targets as data of a kind.

    Returns:
        Options that a loop needs for this kind (`batch_size` or `steps`), and a function that
        makes `x` (and `y`, where it is apart), anew for each loop.
    """
    import tensorflow as tf

    if keras is None:
        import keras
    named = {"upper": upper, "lower": lower}
    tensor = tf.constant
    x = {
        "arrays": (upper, lower),
        "list of arrays": [upper, lower],
        "tensors": [tensor(upper), tensor(lower)],
        "dict of arrays": named,
        "dict of tensors": {name: tensor(part) for name, part in named.items()},
    }
    if kind in x:
        targets = {k: tensor(v) for k, v in y.items()} if "tensors" in kind else y
        return {"batch_size": SIZE}, lambda: {"x": x[kind], "y": targets}

    n_batches = len(upper) // SIZE

    def batch(number):
        part = slice(number * SIZE, (number + 1) * SIZE)
        return {k: v[part] for k, v in named.items()}, {k: v[part] for k, v in y.items()}

    class Batches(keras.utils.Sequence):
        def __len__(self):
            return n_batches

        def __getitem__(self, number):
            return batch(number)

    def generate():
        while True:
            yield from map(batch, range(n_batches))

    if kind == "generator":
        return {"steps": n_batches}, lambda: {"x": generate()}
    if kind == "Sequence":
        return {}, lambda: {"x": Batches()}
    dataset = tf.data.Dataset.from_tensor_slices((named, y)).batch(SIZE)
    return {}, lambda: {"x": dataset}


def record(net, fit):
    """Give the first number of each item in the batches that a loop trains on."""
    batches = []
    step = net.train_step

    def train_step(data):
        batches.append(np.array(data[0])[:, 0].astype(int).tolist())
        return step(data)

    net.train_step = train_step
    net.make_train_function(force=True)
    try:
        fit()
    finally:
        net.train_step = step
        net.make_train_function(force=True)
    return batches
