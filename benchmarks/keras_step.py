"""What does `train_model` cost beside a compiled step written by hand, and beside Keras `fit`?

A one-layer network with small batches and with batches of 400 KB, and a convolutional one, trained
with the same batches in the same order: by `train_model` in a chain, and with 8 steps a call; by
`train_step` and `train_steps` in a loop; by a compiled step that somebody has written by hand, fed
with copied batches (on TensorFlow a `tf.function`; on JAX a jitted function with donated state),
and by 8 of them in one call; by the `fit` of Keras on the arrays; by `train_on_batch`. All losses
and weights must come out the same.

    KERAS_BACKEND=tensorflow python benchmarks/keras_step.py
    KERAS_BACKEND=jax python benchmarks/keras_step.py

Read the medians. Required of the one-layer network: `times_by_hand` of train_model at most 1.1 and
of train_model_8 0.8, `times_fit` 0.6, `times_by_hand_8` 1.1; of the convolutional:
`times_best_loop` (of the loops without batchflow, one step a call, the faster one of each round)
1.03; of `batches_of_400_KB`: `times_by_hand` of train_model_8 at most 0.8, aimed at: 0.65. On JAX
`times_outside` compares with a step by hand that leaves the model as it was until the
last batch, which `train_model` may not do. `chain` is the same chain with a step that does nothing:
what reading the batches costs.
"""

from functools import partial

import keras
import numpy as np
from keras_loops import by_hand, outside
from measure import interleaved, ratios, report

from batchflow import ArrayBatch, B, Dataset, V
from batchflow.models import train_step, train_steps


class Rows(ArrayBatch):
    components = "x", "y"


def one_layer():
    keras.utils.set_random_seed(1)
    net = keras.Sequential([keras.Input((16,)), keras.layers.Dense(1)])
    net.compile("sgd", "mse")
    return net


def wide():
    keras.utils.set_random_seed(1)
    net = keras.Sequential([keras.Input((400,)), keras.layers.Dense(1)])
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


def make_loops(build, x, y, size):
    """Give the loops by name, each over all batches, and their networks."""

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
        step, finish = make_step(net)

        def run():
            losses = []
            for batch in source():
                loss = step(batch)
                losses += loss if isinstance(loss, list) else [loss]
            finish()
            return [float(loss) for loss in losses]

        return run

    def chained(name, **options):
        nets[name] = build()
        chain = Dataset.from_arrays(Rows, x=x, y=y).p.init_model("net", nets[name])
        chain = chain.init_variable("loss", init_on_each_run=list)
        store = V("loss", mode="a")
        chain = chain.train_model("net", B.x, B.y, fetches="loss", save_to=store, **options)
        return lambda: [float(loss) for loss in chain.run(size).v("loss")]

    def fit():
        nets["fit"].fit(x, y, batch_size=size, shuffle=False, verbose=0)

    nets["fit"] = build()
    empty = Dataset.from_arrays(Rows, x=x, y=y).p.do_nothing(B.x, B.y)
    done = lambda: None  # noqa: E731
    of_jax = {}
    if keras.backend.backend() == "jax":
        of_jax["outside"] = loop("outside", outside)
        of_jax["outside_8"] = loop("outside_8", partial(outside, in_eights=True), eights)
    return nets, {
        "by_hand": loop("by_hand", by_hand),
        "train_model": chained("train_model"),
        "train_model_8": chained("train_model_8", steps_per_call=8),
        "train_step": loop("step", lambda net: (lambda batch: train_step(net, *batch), done)),
        "steps_of_8": loop(
            "steps_of_8", lambda net: (lambda group: train_steps(net, group), done), eights
        ),
        "by_hand_8": loop("by_hand_8", partial(by_hand, in_eights=True), eights),
        "train_on_batch": loop(
            "on_batch", lambda net: (lambda batch: net.train_on_batch(*batch), done)
        ),
        "fit": fit,
        "chain": lambda: empty.run(size),
        **of_jax,
    }


def measured(build, shape, size, n_steps, rounds):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(size * n_steps, *shape)).astype("float32")
    y = rng.normal(size=(size * n_steps, 1)).astype("float32")
    nets, loops = make_loops(build, x, y, size)
    seconds, losses = interleaved(rounds, **loops)
    best = map(min, zip(*(seconds[name] for name in ("by_hand", "train_on_batch")), strict=True))
    pick = lambda *names: {name: seconds[name] for name in names}  # noqa: E731
    expected = nets["by_hand"].get_weights()
    return {
        "by_hand_milliseconds_per_step": round(min(seconds["by_hand"]) / n_steps * 1e3, 3),
        "times_by_hand": ratios(seconds, "by_hand"),
        "times_fit": ratios(pick("fit", "train_model"), "fit"),
        "times_by_hand_8": ratios(pick("by_hand_8", "train_model_8", "steps_of_8"), "by_hand_8"),
        **{
            f"times_{one}": ratios(pick(one, name), one)
            for one, name in (("outside", "train_model"), ("outside_8", "train_model_8"))
            if one in seconds
        },
        "times_best_loop": ratios(
            {"best": list(best), **pick("train_model", "train_model_8")}, "best"
        ),
        "not_the_same_losses": [
            name
            for name, values in losses.items()
            if name not in ("fit", "chain") and values != losses["by_hand"]
        ],
        "greatest_difference_of_weights": {
            name: float(
                max(
                    np.abs(one - other).max()
                    for one, other in zip(expected, net.get_weights(), strict=True)
                )
            )
            for name, net in nets.items()
            if name != "by_hand"
        },
    }


def main():
    report(
        f"keras_step, {keras.backend.backend()}",
        one_layer=measured(one_layer, (16,), 32, 400, 9),
        batches_of_400_KB=measured(wide, (400,), 256, 64, 15),
        convolutional=measured(convolutional, (28, 28, 1), 32, 24, 7),
    )


if __name__ == "__main__":
    main()
