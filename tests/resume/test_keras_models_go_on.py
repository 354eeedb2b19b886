"""Models of Keras in a run that is saved and goes on: the same bits, on every backend."""

import keras
import numpy as np
import pytest

from batchflow import ArrayBatch, B, Checkpoint, Dataset, V, action, model

pytestmark = pytest.mark.tensorflow


def made(optimizer, metrics=None):
    keras.utils.set_random_seed(3)
    layers = keras.layers
    net = keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(8, activation="relu"),
            layers.BatchNormalization(),
            layers.Dropout(0.5),
            layers.Dense(1),
        ]
    )
    net.compile(optimizer, "mse", metrics=metrics)
    return net


class Rows(ArrayBatch):
    components = "x", "y"

    @model()
    def net():
        return made(keras.optimizers.Adam(1e-2), ["mae"])

    @model()
    def quick():  # to trace
        return made(keras.optimizers.SGD(1e-2, momentum=0.9))

    @model(mode="dynamic")
    def pieces(batch):
        keras.utils.set_random_seed(4)
        dense = keras.layers.Dense(1)
        dense.build((None, batch.x.shape[1]))
        return {"dense": dense, "n": 0}


def rows(cls=Rows):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 4)).astype("float32")
    return Dataset.from_arrays(cls, x=x, y=rng.normal(size=60).astype("float32"))


def training():
    Rows.models.reset("net")
    p = rows().p.init_variable("losses", init=list)
    return p.train_model("net", B.x, B.y, save_to=V("losses", "a"))


def outcome(pipeline, name="net"):
    weights = [w.tolist() for w in Rows.models[name].get_weights()]
    return weights, [float(loss) for loss in pipeline.v("losses")]


OPTIONS = {"batch_size": 8, "shuffle": True, "seed": 1, "n_epochs": 3}


@pytest.fixture(scope="module")
def expected():
    return outcome(training().run(**OPTIONS))


@pytest.mark.parametrize("n_batches", [8, 13])
def test_weights_optimizer_and_dropout_go_on(tmp_path, expected, n_batches):
    with training().gen_batch(**OPTIONS, checkpoint=tmp_path) as run:
        for _ in range(n_batches):
            next(run)
    again = training()
    keras.utils.set_random_seed(99)
    again.run(**OPTIONS, checkpoint=tmp_path, prefetch=2)
    assert outcome(again) == expected


def test_within_a_group_it_waits_for_the_end_of_the_group(tmp_path):
    def grouped():
        Rows.models.reset("quick")
        p = rows().p.init_variable("losses", init=list)
        return p.train_model("quick", B.x, B.y, steps_per_call=3, save_to=V("losses", "a"))

    whole = grouped()
    whole.run(**OPTIONS)
    expected = outcome(whole, "quick")
    with grouped().gen_batch(**OPTIONS, checkpoint=Checkpoint(tmp_path, every_n_batches=1)) as run:
        for _ in range(5):
            next(run)
    again = grouped()
    again.run(**OPTIONS, checkpoint=tmp_path)
    assert outcome(again, "quick") == expected


def told(**how):
    """Return a pipeline whose steps report all metrics, and what reads these."""
    Rows.models.reset("net")
    p = rows().p.init_variable("told", init=list)
    more = {"return_dict": True, "save_to": V("told", "a"), **how}
    return p.train_model("net", B.x, B.y[:, None], reset_metrics=False, **more)


def read(pipeline):
    return [{name: float(value) for name, value in one.items()} for one in pipeline.v("told")]


@pytest.mark.parametrize("how", [{}, {"steps_per_call": 3}], ids=str)
def test_metrics_that_are_not_reset_go_on(tmp_path, how):
    whole = read(told(**how).run(**OPTIONS))
    assert {"loss", "mean_absolute_error"} & {*whole[0]}
    with told(**how).gen_batch(**OPTIONS, checkpoint=tmp_path) as run:
        for _ in range(9):
            next(run)
    with told(**how).gen_batch(**OPTIONS, checkpoint=tmp_path) as run:  # saved again at once
        run.checkpoint()
    again = told(**how)
    again.run(**OPTIONS, checkpoint=tmp_path)
    assert read(again) == whole


def test_metrics_are_dropped_where_something_else_has_made_them_since():
    from batchflow.models import keras_metrics
    from batchflow.models.keras_step import train_on_batch

    x, y = np.ones((8, 4), "float32"), np.ones((8, 1), "float32")
    Rows.models.reset("net")
    net = Rows.models["net"]
    keras_metrics.put(net, [np.float32(value) for value in (1e6, 1, 1e6, 1)])
    net.train_on_batch(x, y)
    told = train_on_batch(net, (x, y), {"reset_metrics": False})
    assert float(told["mae"]) < 9


def test_layers_in_a_dictionary_go_on(tmp_path):
    def counting():
        def step(pieces):
            pieces["dense"].kernel.assign(pieces["dense"].kernel * 0.9 + 1)
            pieces["n"] += 1

        class Counting(Rows):
            @action(model="pieces", singleton=True)
            def count(self, pieces):
                step(pieces)
                return self

        return Dataset.from_arrays(Counting, x=np.ones((9, 4)), y=np.ones(9)).p.count()

    whole = counting().run(2, n_epochs=2).m("pieces")
    with counting().gen_batch(2, n_epochs=2, checkpoint=tmp_path) as run:
        for _ in range(4):
            next(run)
    again = counting().run(2, n_epochs=2, checkpoint=tmp_path).m("pieces")
    assert again["n"] == whole["n"] == 10
    assert np.array_equal(again["dense"].get_weights()[0], whole["dense"].get_weights()[0])


@pytest.mark.backends("torch")
def test_layers_that_were_frozen_on_the_way_stay_so(tmp_path):
    class Freezing(Rows):
        @action(model="net", singleton=True)
        def train(self, net):
            self.pipeline.v("losses").append(float(net.train_on_batch(self.x, self.y)[0]))
            net.layers[1].trainable = False  # torch sees that at once, others when it is compiled
            return self

    def make():
        Freezing.models.reset("net")
        return rows(Freezing).p.init_variable("losses", init=list).train()

    expected = make().run(**OPTIONS).v("losses")
    with make().gen_batch(**OPTIONS, checkpoint=tmp_path) as run:
        next(run)
    assert make().run(**OPTIONS, checkpoint=tmp_path).v("losses") == expected
