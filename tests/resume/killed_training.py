"""A program that trains a model of a framework: `python killed_training.py FRAMEWORK FOLDER ...`.

It is killed, and started again with the same arguments:

    FRAMEWORK   keras, torch or estimator
    FOLDER      that of its checkpoints and of what the model writes
    EXECUTOR    threads or processes
    EVERY       between checkpoints lie so many batches; 0: it has none, and is not resumed

It prints `begun` when it has imported everything, and at the end what it has trained, as JSON. The
workers of other processes import this file, too, and so no framework at its top.
"""

import json
import sys

import numpy as np

from batchflow import ArrayBatch, B, Checkpoint, Dataset, V, action, model

N, EPOCHS = 96, 4


class Rows(ArrayBatch):
    components = "x", "y"
    folder = ""

    @model()
    def keras():
        import keras

        keras.utils.set_random_seed(3)
        layers = keras.layers
        hidden = [layers.Dense(8), layers.BatchNormalization(), layers.Dropout(0.5)]
        made = keras.Sequential([keras.Input((4,)), *hidden, layers.Dense(1)])
        made.compile(keras.optimizers.Adam(1e-2), "mse", metrics=["mae"])
        return made

    @model()
    def torch():
        import torch

        from batchflow.models import TorchModel

        torch.manual_seed(1)
        nn = torch.nn
        made = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 1))
        return TorchModel(made, torch.optim.Adam, nn.MSELoss())

    @model()
    def estimator():
        import keras

        from batchflow.models import Estimator, EstimatorSpec, RunConfig

        def model_fn(features, labels, mode):
            hidden = keras.layers.Dense(4, activation="relu")(features)
            results = keras.layers.Dense(1)(keras.layers.Dropout(0.5)(hidden))
            loss = keras.ops.mean(keras.ops.square(results - labels))
            return EstimatorSpec(mode, loss=loss, train_op=keras.optimizers.Adam(0.01))

        config = RunConfig(tf_random_seed=3, save_checkpoints_steps=5)
        return Estimator(model_fn, f"{Rows.folder}/estimator", config)

    @action
    def noise(self):
        drawn = self.rng.normal(size=self.x.shape)
        self.x = self.x + drawn.astype("float32")
        return self


TRAINING = {
    "keras": {"reset_metrics": False, "return_dict": True},
    "torch": {},
    "estimator": {"fetches": "loss"},
}


def job(framework, folder, executor, every):
    """Train, and return what came of it."""
    Rows.folder = folder
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(N, 4)).astype("float32"), rng.normal(size=(N, 1)).astype("float32")
    p = Dataset.from_arrays(Rows, x=x, y=y).p.noise()
    p = p.init_variable("ids", init=list).init_variable("told", init=list)
    p = p.train_model(framework, B.x, B.y, save_to=B.told, **TRAINING[framework])
    p = p.update(V("told", "append"), B.told).update(V("ids", "extend"), B.source_ids)
    saving = {"checkpoint": Checkpoint(f"{folder}/run", every_n_batches=every)} if every else {}
    options = {"shuffle": True, "seed": 5, "n_epochs": EPOCHS, "prefetch": 3}
    p.run(4, executor=executor, **options, **saving)
    told = [dict(one) if isinstance(one, dict) else {"loss": one} for one in p.v("told")]
    values = [{name: float(value) for name, value in one.items()} for one in told]
    return {"weights": weights(framework), "told": values, "ids": [int(i) for i in p.v("ids")]}


def weights(framework):
    trained = Rows.models[framework]
    if framework == "keras":
        arrays = [np.asarray(one) for one in (*trained.variables, *trained.optimizer.variables)]
    elif framework == "torch":
        arrays = [one.numpy() for one in trained.module.state_dict().values()]
    else:
        arrays = [trained.get_variable_value(name) for name in trained.get_variable_names()]
    return [np.asarray(one).tolist() for one in arrays]


def main():
    framework, folder, executor, every = sys.argv[1:]
    if framework == "torch":
        import torch  # noqa: F401
    else:
        import keras  # noqa: F401
    sys.stdout.write("begun\n")
    sys.stdout.flush()
    sys.stdout.write(json.dumps(job(framework, folder, executor, int(every))))


if __name__ == "__main__":
    main()
