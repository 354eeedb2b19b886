"""Networks, their batches and what they hold: what the tests of the training step share.

Most of their time is that of tracing: Adam has four times the operations of SGD, and each variable
has its own. Where nothing depends on the optimizer it is SGD with momentum, which has a state, too.
"""

import numpy as np

RNG = np.random.default_rng(0)
X = RNG.normal(size=(48, 8, 8, 2)).astype("float32")
Y = (X.sum(axis=(1, 2, 3)) > 0).astype("float32")[:, None]
BATCHES = [slice(start, start + 10) for start in range(0, 48, 10)]  # the last one has 8


def dense(keras, optimizer="sgd", **options):
    net = keras.Sequential([keras.Input((8, 8, 2)), keras.layers.Flatten(), keras.layers.Dense(1)])
    net.compile(optimizer, "mse", **options)
    return net


def momentum(keras):
    return keras.optimizers.SGD(0.1, momentum=0.9)


def everything(keras, optimizer=None, **options):
    layers, regularizers = keras.layers, keras.regularizers
    net = keras.Sequential(
        [
            keras.Input((8, 8, 2)),
            layers.Conv2D(4, 3, use_bias=False, kernel_regularizer=regularizers.L2(0.1)),
            layers.BatchNormalization(),
            layers.Activation("relu"),
            layers.Flatten(),
            layers.Dropout(0.5, seed=1),  # without a seed, torch takes its global one
            layers.Dense(1, activation="sigmoid", activity_regularizer=regularizers.L1(0.1)),
        ]
    )
    net.compile(optimizer or momentum(keras), "binary_crossentropy", **options)
    return net


def unbuilt(keras):
    net = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(1)])
    net.compile("sgd", "mse", metrics=["mae", keras.metrics.AUC(num_thresholds=5, name="auc")])
    return net


def scaled(keras):
    net = dense(keras)
    optimizer = keras.optimizers.LossScaleOptimizer(momentum(keras))
    net.compile(optimizer, "mse", metrics=["mae"], weighted_metrics=["mse"])
    return net


def own_step(keras):
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.inner = keras.layers.Dense(1)
            self.seen = keras.metrics.Sum(name="seen")

        def call(self, x, training=None):
            return self.inner(keras.ops.reshape(x, (-1, 128)))

        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            self.seen.update_state(keras.ops.ones_like(y))
            return keras.ops.mean((keras.ops.convert_to_tensor(y) - y_pred) ** 4)

        def train_step(self, *args):
            logs = super().train_step(*args)
            return logs if isinstance(logs, tuple) else {**logs, "twice": logs["loss"] * 2}

    net = Own()
    net.compile(keras.optimizers.SGD(1e-4))
    return net


def frozen(keras):
    net = everything(keras)
    net.layers[0].trainable = net.layers[1].trainable = False
    net.compile(momentum(keras), "mse")
    return net


def measured(keras):
    return everything(keras, metrics=["accuracy"])


MODELS = {
    "dense, sgd": dense,
    "momentum": everything,
    "adam and metrics": lambda keras: everything(keras, "adam", metrics=["accuracy"]),
    "schedule, clipped": lambda keras: everything(
        keras,
        keras.optimizers.Adam(
            keras.optimizers.schedules.ExponentialDecay(0.1, 2, 0.5), global_clipnorm=0.1
        ),
    ),
    "nothing built": unbuilt,
    "loss scale, weighted metrics": scaled,
    "a train_step of its own": own_step,
    "frozen layers": frozen,
    "eagerly": lambda keras: dense(keras, run_eagerly=True),
}


def seeded(keras, make):
    keras.utils.set_random_seed(1)
    return make(keras)


def state(net):
    # By position: what is left of the names may tell two models of one process apart.
    return [np.array(np.asarray(v)) for v in (*net.variables, *net.optimizer.variables)]


def same(one, other):
    one, other = state(one), state(other)
    return len(one) == len(other) and all(map(np.array_equal, one, other))


def by_keras(net, *batch, **options):
    """Do a step by `train_on_batch`, and read its values."""
    logs = net.train_on_batch(*batch, **options, return_dict=True)
    return {name: float(value) for name, value in logs.items()}
