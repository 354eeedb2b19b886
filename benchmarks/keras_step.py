"""What does `train_model` cost beside a compiled step written by hand, and beside Keras `fit`?

A one-layer and a convolutional network on TensorFlow, trained with the same batches in the same
order: by `train_model` in a chain; by `train_step` and, 8 batches a call, `train_steps` in a loop;
by a `tf.function` that somebody has written by hand, fed with copied batches; by Keras's `fit` on
the arrays; by `train_on_batch`. All weights must come out the same.

    python benchmarks/keras_step.py

Read the medians. Required of the one-layer network: `times_by_hand` of train_model at most 1.1 and
of steps_of_8 0.8, `times_fit` 0.6, `times_by_hand_8` 1.1; of the convolutional: `times_best_loop`
(of the two loops without batchflow, the faster one of each round) 1.03.
Needs the tensorflow extra.
"""

import keras
import numpy as np
import tensorflow as tf
from measure import interleaved, ratios, report

from batchflow import ArrayBatch, B, Dataset
from batchflow.models import train_step, train_steps


class Rows(ArrayBatch):
    components = "x", "y"


def one_layer():
    keras.utils.set_random_seed(1)
    net = keras.Sequential([keras.Input((16,)), keras.layers.Dense(1)])
    net.compile("sgd", "mse")
    return net


def convolutional():
    keras.utils.set_random_seed(1)
    layers = keras.layers
    net = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(16, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(32, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(1),
        ]
    )
    net.compile("sgd", "mse")
    return net


def by_hand(net):
    """Give the training step that one writes who needs no metrics."""
    loss_of = keras.losses.MeanSquaredError()

    @tf.function
    def step(x, y):
        with tf.GradientTape() as tape:
            loss = loss_of(y, net(x, training=True))
        weights = net.trainable_variables
        net.optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))
        return loss

    return step


def by_hand_in_eights(net):
    step = by_hand(net)
    return tf.function(lambda batches: [step(x, y) for x, y in batches])


def measured(build, shape, size, n_steps, rounds):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(size * n_steps, *shape)).astype("float32")
    y = rng.normal(size=(size * n_steps, 1)).astype("float32")

    def batches():
        for start in range(0, len(x), size):
            yield x[start : start + size].copy(), y[start : start + size].copy()

    def eights():
        group = []
        for batch in batches():
            group.append(batch)
            if len(group) == 8:
                yield group
                group = []

    nets = {}

    def loop(name, make_step, source=batches):
        net = nets[name] = build()
        step = make_step(net)

        def run():
            for batch in source():
                loss = step(batch)
            return float(loss[-1] if isinstance(loss, list) else loss)

        return run

    def hand(net):
        step = by_hand(net)
        return lambda batch: step(*batch)

    nets["train_model"] = build()
    chain = Dataset.from_arrays(Rows, x=x, y=y).p.init_model("net", nets["train_model"])
    chain = chain.train_model("net", B.x, B.y)
    nets["fit"] = build()
    seconds, losses = interleaved(
        rounds,
        by_hand=loop("by_hand", hand),
        train_model=lambda: chain.run(size),
        train_step=loop("train_step", lambda net: lambda batch: train_step(net, *batch)),
        steps_of_8=loop("steps_of_8", lambda net: lambda group: train_steps(net, group), eights),
        by_hand_8=loop("by_hand_8", by_hand_in_eights, eights),
        train_on_batch=loop("on_batch", lambda net: lambda batch: net.train_on_batch(*batch)),
        fit=lambda: nets["fit"].fit(x, y, batch_size=size, shuffle=False, verbose=0),
    )
    expected = nets["by_hand"].get_weights()
    names = ("by_hand", "train_on_batch")
    best = [min(times) for times in zip(*(seconds[name] for name in names), strict=True)]
    of_model = {"train_model": seconds["train_model"]}
    return {
        "by_hand_milliseconds_per_step": round(min(seconds["by_hand"]) / n_steps * 1e3, 3),
        "times_by_hand": ratios(seconds, "by_hand"),
        "times_fit": ratios({"fit": seconds["fit"], **of_model}, "fit"),
        "times_by_hand_8": ratios(
            {name: seconds[name] for name in ("by_hand_8", "steps_of_8")}, "by_hand_8"
        ),
        "times_best_loop": ratios({"best": best, **of_model}, "best"),
        "same_losses": losses["by_hand"] == losses["train_step"] == losses["steps_of_8"],
        "same_weights": all(
            np.array_equal(one, other)
            for net in nets.values()
            for one, other in zip(expected, net.get_weights(), strict=True)
        ),
    }


def main():
    report(
        "keras_step",
        one_layer=measured(one_layer, (16,), 32, 400, 9),
        convolutional=measured(convolutional, (28, 28, 1), 32, 24, 7),
    )


if __name__ == "__main__":
    main()
