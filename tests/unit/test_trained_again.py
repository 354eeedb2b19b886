"""A pipeline that trains on the same epoch again with the same number warns, once."""

import warnings

import numpy as np
import pytest

from batchflow import ArrayBatch, B, Dataset, V, action, model


def training(mode="static"):
    class Rows(ArrayBatch):
        if mode == "static":

            @model()
            def net():
                return {"n": 0}
        else:

            @model(mode="dynamic")
            def net(batch):
                return {"n": 0}

        @action(model="net", singleton=True)
        def train(self, net):
            net["n"] += 1
            return self

        @action(model="net")
        def look(self, net):
            return self

    return Dataset.from_arrays(Rows, data=np.arange(8)).p.train()


def warned(calls):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for call in calls:
            call()
    return [str(warning.message) for warning in caught]


SAME = [
    {"shuffle": 42},
    {"seed": 1},
    {"shuffle": True, "seed": 1},
    {"shuffle": 0, "first_epoch": 2},
]


@pytest.mark.parametrize("mode", ["static", "dynamic"])
@pytest.mark.parametrize("options", SAME, ids=repr)
def test_a_loop_of_runs_with_one_number_warns_once(options, mode):
    pipeline = training(mode)
    (message,) = warned([lambda: pipeline.run(4, **options)] * 4)
    following = options.get("first_epoch", 0) + 1
    assert "'net'" in message
    assert f"first_epoch={following} for what follows" in message
    assert "n_epochs=" in message
    assert 'reset("models")' in message


def test_it_says_which_epoch_follows_several():
    pipeline = training()
    (message,) = warned([lambda: pipeline.run(4, shuffle=1, n_epochs=5)] * 2)
    assert "first_epoch=5" in message


def test_the_warning_shows_the_place_of_the_call():
    pipeline = training().run(4, shuffle=1)
    with pytest.warns(UserWarning, match="trained on epoch 0") as caught:
        pipeline.run(4, shuffle=1)
    assert caught[0].filename == __file__


@pytest.mark.parametrize(
    "each",
    [
        lambda k: {"shuffle": 42, "first_epoch": k},
        lambda k: {"shuffle": k},
        lambda k: {"shuffle": True, "seed": k},
        lambda k: {"shuffle": 42, "seed": k},
        lambda k: {"shuffle": True},
        lambda k: {},
        lambda k: {"shuffle": np.random.default_rng(1)},
        lambda k: {"seed": np.random.default_rng(1)},
    ],
)
def test_other_epochs_other_numbers_and_no_numbers_are_fine(each):
    pipeline = training()
    assert warned([lambda k=k: pipeline.run(4, **each(k)) for k in range(3)]) == []


def test_a_model_that_was_made_anew_is_fine():
    static, dynamic = training(), training("dynamic")
    models = static.dataset.batch_class.models
    again = {"shuffle": 42}
    calls = [lambda: static.run(4, **again), lambda: models.reset("net")] * 3
    calls += [lambda: dynamic.run(4, **again), lambda: dynamic.reset("models")] * 3
    assert warned(calls) == []


def test_another_pipeline_value_is_fine():
    pipeline = training()
    twice = [pipeline.train, pipeline.train]
    assert warned([lambda chain=chain: chain().run(4, shuffle=1) for chain in twice]) == []


def test_a_pipeline_that_does_not_train_is_fine():
    looking = training().dataset.p.look()
    collecting = looking.init_variable("n", 0).update(V("n"), V("n") + 1)
    assert (
        warned([lambda: looking.run(4, shuffle=1), lambda: collecting.run(4, shuffle=1)] * 3) == []
    )


def test_prediction_is_no_training():
    class Mean:
        def predict(self, x):
            return x - 1

    pipeline = training().dataset.p.init_model("mean", Mean)
    pipeline = pipeline.predict_model("mean", B.data, save_to=B.data)
    assert warned([lambda: pipeline.run(4, shuffle=1)] * 3) == []


def test_train_model_is_training():
    class Mean:
        def train(self, x):
            return 0

    pipeline = training().dataset.p.init_model("mean", Mean).train_model("mean", B.data)
    (message,) = warned([lambda: pipeline.run(4, shuffle=1)] * 3)
    assert "'mean'" in message


def test_so_is_next_batch_begun_anew():
    pipeline = training()

    def begin():
        pipeline.next_batch(4, shuffle=1)
        pipeline.reset("iter")

    assert len(warned([begin] * 3)) == 1


def test_a_pipeline_that_is_merged_trains_too():
    inner = training()
    pipeline = inner.dataset.p.merge(inner)
    assert len(warned([lambda: pipeline.run(4, shuffle=1)] * 3)) == 1


def test_a_run_that_has_not_begun_has_not_trained():
    pipeline = training()
    assert warned([lambda: pipeline.gen_batch(4, shuffle=1)] * 3) == []
