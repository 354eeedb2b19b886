"""`pipeline.check()` of steps with a model: none is changed, and none is a problem by itself."""

import asyncio
import random
import threading

import numpy as np
import pytest

from batchflow import (
    ArrayBatch,
    B,
    Dataset,
    StopPipeline,
    V,
    action,
    inbatch_parallel,
    model,
)


class Net:
    def __init__(self):
        self.weights, self.n = np.zeros(3), 0

    def train(self, x):
        self.weights[0] += 1
        self.n += 1
        return 0.5

    def predict(self, x):
        return x * 2


class Locked(Net):
    """Has no sure copy."""

    def __init__(self):
        super().__init__()
        self.lock = threading.Lock()


class Rows(ArrayBatch):
    components = "x", "pred"

    @model()
    def net():
        return Net()

    @model()
    def locked():
        return Locked()

    @model()
    def drawn():
        return {"seed": random.random()}

    @model(mode="dynamic")
    def sized(batch):
        return {"n": len(batch)}

    @action(model="net")
    def predict(self, net):
        self.pred = net.predict(self.x)
        return self

    @action(model="net", singleton=True)
    def train(self, net):
        self.loss = net.train(self.x)
        return self

    @action(model="locked")
    def predict_locked(self, net):
        self.pred = net.predict(self.x)
        return self

    @action(model="locked", singleton=True)
    def train_locked(self, net):
        self.loss = net.train(self.x)
        return self

    @action(model="sized", singleton=True)
    def train_sized(self, sized):
        self.loss = sized["n"]
        sized["n"] += 1
        return self

    @action(model="drawn")
    def look(self, drawn):
        return self

    @action
    def use(self):
        self.score = self.pred.mean()
        return self

    @action
    def use_loss(self):
        self.doubled = self.loss * 2
        return self

    @action
    def ask(self, way, changes):
        net = way(self)
        net.n += changes
        self.asked = True
        return self

    @action
    async def wait_and_train(self):
        await asyncio.sleep(0)
        self.net().n += 1
        return self

    @action
    @inbatch_parallel(init="indices", target="threads")
    def train_by_item(self, item_id):
        self.models["net"].n += 1


@pytest.fixture
def dataset():
    for name in ("net", "locked", "drawn"):
        Rows.models.reset(name)
    for name in ("net", "locked"):
        assert Rows.models[name].n == 0
    return Dataset.from_arrays(Rows, x=np.arange(6.0))


# ---- steps that have a model


def test_a_prediction_is_run_and_is_no_problem(dataset):
    report = dataset.p.predict().use().check()
    assert report.steps[0].changes == ["pred: float64 (2,), was None"]
    assert [step.outcome for step in report.steps] == ["done", "done"]
    assert (report.problems, report.look_at) == ([], [])
    dataset.p.predict().use().run(2)


def test_what_training_leaves_in_the_batch_is_there_for_later_steps(dataset):
    report = dataset.p.train().use_loss().check()
    assert report.steps[0].changes == ["loss: float, new", "the model 'net': changed (here a copy)"]
    assert [step.outcome for step in report.steps] == ["done", "done"]
    assert report.problems == []
    assert Rows.models["net"].n == 0
    assert Rows.models["net"].weights.tolist() == [0, 0, 0]


def test_steps_see_what_steps_before_them_did_to_a_model(dataset):
    seen = []
    p = dataset.p.train().train().call(lambda b: seen.append(b.pipeline.models["net"].n), B())
    assert p.init_variable("n").update(V("n"), 1).check().problems == []
    assert (seen, Rows.models["net"].n) == ([2], 0)


@pytest.mark.parametrize(("name", "use"), [("predict_locked", "use"), ("train_locked", "use_loss")])
def test_what_fails_behind_a_step_that_was_not_run_is_no_problem(dataset, name, use):
    p = getattr(getattr(dataset.p, name)(), use)().use()
    report = p.check()
    assert report.steps[0].outcome == "not run: it works on the model 'locked'"
    told = f"not checked: the step '{name}' before it was not run, and without that it raises "
    assert report.steps[1].outcome.startswith(told)
    assert report.problems == []
    assert str(report).endswith("3 steps not checked")
    assert Rows.models["locked"].n == 0


def test_a_parallel_step_with_a_model_that_has_no_copy_is_a_thing_to_look_at(dataset):
    report = dataset.p.predict_locked().check()
    assert 'if it trains it, mark it @action(model="locked"' in report.look_at[0]
    assert "    ? works on the model 'locked'" in str(report)
    assert str(report).endswith("no problems, 1 thing to look at, 1 step not checked")
    assert dataset.p.train_locked().check().look_at == []


def test_models_of_the_chain_stay_as_they_are(dataset):
    p = dataset.p.init_model("own", Net).train_model("own", B.x, save_to=B.loss).use_loss()
    p.run(2)
    weights = p.m("own").weights.copy()
    report = p.check()
    assert (report.problems, p.m("own").n) == ([], 3)
    assert np.array_equal(p.m("own").weights, weights)
    given = Net()
    assert dataset.p.init_model("own", given).train_model("own", B.x).check().problems == []
    inner = dataset.p.import_model("own", p).train_model("own", B.x)
    assert inner.check().steps[0].changes == ["the model 'own': changed (here a copy)"]
    assert (given.n, p.m("own").n) == (0, 3)


def test_a_dynamic_model_is_made_from_the_batch_of_the_check(dataset):
    p = dataset.p.train_sized().use_loss()
    assert p.check(3).problems == []
    p.run(2)
    assert p.m("sized") == {"n": 5}


def test_steps_per_call_are_checked_one_by_one(dataset):
    p = dataset.p.init_model("own", Net).train_model("own", B.x, steps_per_call=3, save_to=B.loss)
    assert [step.outcome for step in p.use_loss().check().steps] == ["done", "done"]


def test_no_file_is_written_or_read_by_the_steps_that_do_it_with_a_model(dataset, tmp_path):
    report = dataset.p.predict().save_model("net", tmp_path / "net").use().check()
    assert report.steps[1].outcome == "not run: it works on a file"
    assert (report.problems, [*tmp_path.iterdir()]) == ([], [])


def test_a_model_that_is_made_draws_what_it_draws_in_a_run(dataset):
    random.seed(5)
    first = random.random()
    random.seed(5)
    assert dataset.p.look().check().problems == []
    second = random.random()
    random.seed(5)
    assert (first, second) == (random.random(), random.random())
    assert Rows.models["drawn"]["seed"] == first


def test_a_model_before_the_batches_is_left_out_and_what_needs_it_is_not_checked(dataset):
    p = dataset.p.init_model("own", Net).before.load_model("own", "no such file")
    report = p.main.call(lambda: 1 / 0).check()
    assert report.steps[0].outcome.startswith("not checked: the step 'load_model' of .before")
    assert report.problems == []


def test_what_fails_behind_a_stop_before_the_batches_is_not_checked(dataset):
    def stop():
        raise StopPipeline

    p = dataset.p.init_variable("k").before.call(stop).call(lambda: 2, save_to=V("k"))
    [step] = p.main.call(lambda k: k + 1, V("k")).check().steps
    assert step.outcome.startswith("not checked: what follows the stop in .before before it was")


def test_async_steps_before_the_batches_are_taken(dataset):
    async def two():
        return 2

    p = dataset.p.init_variable("k").before.call(two, save_to=V("k"))
    assert p.main.call(lambda k: k + 1, V("k")).check().problems == []


def test_a_joined_pipeline_trains_no_model(dataset):
    p = dataset.p.join(dataset.p.ask(lambda batch: batch.models["net"], 1))
    assert p.call(lambda other: other.x, save_to=B.pred).use().check().steps[1].outcome == "done"
    wild = dataset.p.join(dataset.p.predict_locked()).call(lambda other: other.x, save_to=B.pred)
    assert wild.use().check().steps[1].outcome.startswith("not checked: the step 'call'")
    assert Rows.models["net"].n == 0


def test_what_fails_behind_rebatch_is_a_problem_and_behind_merge_it_may_be_none(dataset):
    assert len(dataset.p.rebatch(4).use().check().problems) == 1
    report = dataset.p.merge(dataset.p.predict()).use().check()
    assert (report.problems, report.steps[1].outcome[:11]) == ([], "not checked")


# ---- models that the body of an action asks for

WAYS = [
    lambda batch: type(batch).models["net"],
    lambda batch: batch.net(),
    lambda batch: batch.get_model_by_name("net"),
    lambda batch: batch.pipeline.m("net"),
]


@pytest.mark.parametrize("way", WAYS)
def test_a_parallel_body_that_changes_a_model_is_a_problem(dataset, way):
    report = dataset.p.ask(way, 1).check()
    [problem] = report.problems
    assert "changes the model 'net' for several batches at once" in problem
    assert 'mark it @action(model="net", singleton=True)' in problem
    assert report.steps[0].stays == "it asks for the model 'net'"
    assert not report.can_use_processes
    assert Rows.models["net"].n == 0


def test_a_parallel_body_that_only_asks_for_a_model_is_a_thing_to_look_at(dataset):
    report = dataset.p.ask(WAYS[0], 0).check()
    assert report.problems == []
    assert "asks for the model 'net' in its body" in report.look_at[0]
    assert report.steps[0].changes == ["asked: bool, new"]


@pytest.mark.parametrize("name", ["wait_and_train", "train_by_item"])
def test_coroutines_and_calls_for_items_are_watched_too(dataset, name):
    report = getattr(dataset.p, name)().check()
    assert "changes the model 'net'" in report.problems[0]
    assert Rows.models["net"].n == 0


def test_a_body_that_asks_for_a_model_without_a_copy_is_broken_off(dataset):
    p = dataset.p.ask(lambda batch: batch.models["locked"], 1).call(bool, B.asked)
    report = p.check()
    assert report.steps[0].outcome == "not run: it asks for the model 'locked'"
    assert report.steps[1].outcome.startswith("not checked: the step 'ask'")
    assert (report.problems, len(report.look_at)) == ([], 1)
    assert Rows.models["locked"].n == 0


def test_a_parallel_body_that_needs_a_model_that_is_not_made_fails_as_in_a_run(dataset):
    Rows.models.reset("net")
    [problem] = dataset.p.ask(WAYS[0], 1).check().problems
    assert "failed: ModelDefinitionError: the model 'net' is not made yet" in problem


def test_a_model_of_the_chain_that_was_made_before_is_there(dataset):
    p = dataset.p.init_model("own", Net).ask(lambda batch: batch.pipeline.models["own"], 1)
    assert p.models["own"].n == 0
    assert "changes the model 'own'" in p.check().problems[0]
    assert p.models["own"].n == 0


def test_an_ordered_body_may_change_a_model(dataset):
    p = dataset.p.init_variable("n", 0).update(V("n"), 1).ask(WAYS[0], 1).update(V("n"), V("n") + 1)
    report = p.check()
    assert (report.problems, report.look_at, Rows.models["net"].n) == ([], [], 0)
    assert "the model 'net': changed (here a copy)" in report.steps[1].changes


def test_other_threads_get_the_model_while_it_is_checked(dataset):
    got = []

    def ask(batch):
        thread = threading.Thread(target=lambda: got.append(Rows.models["net"]))
        thread.start()
        thread.join(30)
        return batch.models["net"]

    dataset.p.ask(ask, 1).check()
    assert got == [Rows.models["net"]]
    assert Rows.models["net"].n == 0


# ---- Keras


@pytest.mark.tensorflow
def test_a_keras_model_is_left_alone():
    import keras

    class Nets(ArrayBatch):
        components = "x"

        @model()
        def net():
            made = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
            made.compile("sgd", "mse")
            return made

        @action(model="net")
        def train_wildly(self, net):
            self.loss = net.train_on_batch(self.x, self.x[:, :1])
            return self

        @action
        def use_loss(self):
            self.doubled = self.loss * 2
            return self

    dataset = Dataset.from_arrays(Nets, x=np.ones((6, 3), np.float32))
    before = [weight.copy() for weight in Nets.models["net"].get_weights()]
    p = dataset.p.predict_model("net", B.x, save_to=B.pred)
    ordered = p.train_model("net", B.x, B.pred, save_to=B.loss).use_loss().check()
    assert ordered.steps[0].changes == ["pred: float32 (2, 1), new"]
    assert ordered.steps[1].outcome == "not run: it works on the model 'net'"
    assert ordered.steps[2].outcome.startswith("not checked: the step 'train_model' before it")
    assert ordered.problems == []
    [problem] = dataset.p.train_wildly().use_loss().check().problems
    assert "works on the Keras model 'net'" in problem
    assert 'mark it @action(model="net", singleton=True)' in problem
    after = Nets.models["net"].get_weights()
    assert all(np.array_equal(one, other) for one, other in zip(before, after, strict=True))
