"""Models that a chain declares, imports, trains, asks, saves and loads."""

import copy
import gc
import itertools
import threading
import weakref

import numpy as np
import pytest
from harms.conftest import Room, in_threads

from batchflow import (
    ArgumentTypeError,
    ArgumentValueError,
    ArrayBatch,
    B,
    C,
    D,
    Dataset,
    F,
    ModelDefinitionError,
    Pipeline,
    R,
    UnknownAttributeError,
    UnknownNameError,
    V,
    action,
    model,
)
from batchflow.testing import digest

from .conftest import PREFETCH, each_prefetch

each_mode = pytest.mark.parametrize("mode", ["static", "dynamic"])


class Net:
    """A model whose state tells what it was trained with, in order."""

    def __init__(self, rate=1.0, units=1):
        self.rate, self.units = rate, units
        self.weight = 0.0
        self.seen = []

    def train(self, x, number=None):
        self.weight = 0.5 * self.weight + self.rate * float(np.sum(x))
        self.seen.append(number)
        return self.weight

    def predict(self, x):
        return np.asarray(x) * self.weight


class Filed(Net):
    """The same; it saves itself."""

    def save(self, path):
        np.save(path, self.weight)

    def load(self, path):
        self.weight = float(np.load(path))


class Rows(ArrayBatch):
    components = "x"

    @action
    def noise(self):
        self.x = self.x + self.rng.normal(size=len(self))
        return self

    @action
    def ask(self):
        self.found = self.pipeline.models["net"], self.get_model_by_name("net")
        return self

    @action(model="net", singleton=True)
    def fit(self, net, factor=1):
        net.train(factor * self.x, self.number)
        return self

    @action(model="net")
    def guess(self, net):
        self.guessed = net.predict(self.x)
        return self


@pytest.fixture
def dataset():
    return Dataset.from_arrays(Rows, x=np.arange(8.0))


@pytest.fixture
def file(tmp_path):
    return str(tmp_path / "net.npy")


class Crowded(Net):
    def __init__(self, room):
        super().__init__()
        self.room = room

    def train(self, x):
        self.room.visit()

    predict = train


# ---- what makes a model


@each_mode
@pytest.mark.parametrize("builder", [Net, lambda: Net(), Filed])
def test_a_class_or_a_function_makes_it(dataset, builder, mode):
    pipeline = dataset.p.init_model("net", builder, mode).train_model("net", B.x).run(4)
    assert isinstance(pipeline.m("net"), Net)


def test_an_object_is_the_model_itself(dataset):
    net = Net()
    pipeline = dataset.p.init_model("net", net).train_model("net", B.x, B.number).run(4)
    assert pipeline.m("net") is net
    assert net.seen == [0, 1]


def test_the_arguments_of_the_config_go_to_the_builder(dataset):
    chain = dataset.p.init_model("net", Net, config={"rate": 3, "units": 7})
    assert (chain.m("net").rate, chain.m("net").units) == (3, 7)


def test_a_builder_with_a_parameter_config_gets_it_whole(dataset):
    chain = dataset.p.init_model("net", lambda config: config, config={"rate": 3})
    assert chain.m("net") == {"rate": 3}


@pytest.mark.parametrize(
    ("late", "value"),
    [
        (V("rate"), 7),
        (C("rate"), 3),
        (C("none", default=4), 4),
        (F(len)(D()), 8),
        (F(max)(V("rate"), C("rate")), 7),
    ],
)
@each_mode
def test_expressions_in_the_config_are_resolved(dataset, late, value, mode):
    chain = dataset.pipeline({"rate": 3}).init_variable("rate", 7)
    chain = chain.init_model("net", Net, mode, config={"rate": late, "units": [late]})
    net = chain.train_model("net", B.x).run(4).m("net")
    assert (net.rate, net.units) == (value, [value])


def test_the_whole_config_may_be_an_expression(dataset):
    chain = dataset.pipeline({"net": {"rate": 3}}).init_model("net", Net, config=C("net"))
    assert chain.m("net").rate == 3


def test_the_config_of_a_static_model_is_resolved_when_it_is_made(dataset):
    chain = dataset.p.init_variable("rate", 1).init_model("net", Net, config={"rate": V("rate")})
    chain.set_variable("rate", 5)
    assert chain.m("net").rate == 5


def test_the_config_of_a_dynamic_model_may_read_the_first_batch(dataset):
    chain = dataset.p.init_model("net", Net, "dynamic", config={"units": B.x.shape})
    assert chain.train_model("net", B.x).run(4, prefetch=2).m("net").units == (4,)


def test_the_config_of_a_static_model_cannot_read_a_batch(dataset):
    chain = dataset.p.init_model("net", Net, config={"units": B.x.shape}).train_model("net", B.x)
    with pytest.raises(UnknownAttributeError, match="no batch here") as caught:
        chain.run(4)
    assert any("while the model 'net' was made" in note for note in caught.value.__notes__)


@each_mode
def test_random_values_in_the_config_are_a_function_of_the_seed(dataset, mode):
    def rate(seed, prefetch):
        chain = dataset.p.init_model("net", Net, mode, config={"rate": R.normal()})
        chain = chain.noise().train_model("net", B.x)
        return chain.run(2, seed=seed, prefetch=prefetch).m("net").rate

    assert rate(1, 0) == rate(1, 4)
    assert rate(1, 0) != rate(2, 0)


@each_mode
def test_an_undeclared_variable_in_the_config_is_refused_before_the_run(dataset, mode):
    chain = dataset.p.init_variable("rate").init_model("net", Net, mode, config={"rate": V("rat")})
    with pytest.raises(UnknownNameError, match=r"'rat'.*Did you mean 'rate'"):
        chain.train_model("net", B.x).gen_batch(4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("", Net), "a model's name is a string"),
        (("net", None), "give what makes the model"),
        (("net", Net, "dynamical"), '"static" or "dynamic"'),
        (("net", Net, "static", [1]), "config is a mapping"),
    ],
)
def test_bad_declarations_are_refused_at_once(dataset, arguments, message):
    with pytest.raises((ArgumentTypeError, ArgumentValueError), match=message):
        dataset.p.init_model(*arguments)


def test_a_config_that_does_not_fit_is_refused_with_a_suggestion(dataset):
    chain = dataset.p.init_model("net", Net, config={"ratee": 1})
    with pytest.raises(TypeError, match=r"no 'ratee'.*Did you mean 'rate'"):
        chain.m("net")


def test_a_builder_that_needs_a_batch_is_told_to_be_dynamic(dataset):
    with pytest.raises(ModelDefinitionError, match='mode="dynamic"'):
        dataset.p.init_model("net", lambda batch: Net()).train_model("net", B.x).run(4)


# ---- when it is made


@each_prefetch
def test_a_static_model_is_made_once_in_the_thread_of_the_run(dataset, prefetch):
    made = []

    def build():
        made.append(threading.current_thread())
        return Net()

    pipeline = dataset.p.init_model("net", build).noise().train_model("net", B.x)
    pipeline.run(2, n_epochs=2, prefetch=prefetch).run(2, prefetch=prefetch)
    assert made == [threading.main_thread()]


@each_prefetch
def test_a_dynamic_model_is_made_once_from_the_first_batch_in_order(dataset, prefetch):
    made = []

    def build(batch):
        made.append(batch.number)
        return Net()

    chain = dataset.p.init_model("net", build, "dynamic").noise().train_model("net", B.x)
    chain.run(1, prefetch=prefetch)
    assert made == [0]


@each_mode
def test_chaining_makes_no_model(dataset, mode):
    def build():
        pytest.fail("made")

    dataset.p.init_model("net", build, mode).train_model("net", B.x).fit().gen_batch(4)


def test_asking_makes_a_static_model(dataset):
    chain = dataset.p.init_model("net", Net)
    assert chain.m("net") is chain.models["net"]


def test_a_dynamic_model_cannot_be_asked_for_before_a_run(dataset):
    with pytest.raises(UnknownNameError, match="has not run yet"):
        dataset.p.init_model("net", Net, "dynamic").m("net")


def test_an_unknown_model_is_refused_with_a_suggestion(dataset):
    with pytest.raises(UnknownNameError, match=r"'nett'.*Did you mean 'net'"):
        dataset.p.init_model("net", Net).m("nett")


@each_mode
@each_prefetch
def test_the_error_of_a_builder_arrives_and_the_next_run_tries_again(dataset, mode, prefetch):
    error, attempts = OSError("no net"), []

    def build():
        attempts.append(1)
        if len(attempts) == 1:
            raise error
        return Net()

    chain = dataset.p.init_model("net", build, mode).noise().train_model("net", B.x, B.number)
    with pytest.raises(OSError) as caught:
        chain.run(4, prefetch=prefetch)
    assert caught.value is error
    assert any("while the model 'net' was made" in note for note in error.__notes__)
    assert chain.run(4, prefetch=prefetch).m("net").seen == [0, 1]


# ---- whose it is


@each_mode
def test_each_value_makes_its_own(dataset, mode):
    parent = dataset.p.init_model("net", Net, mode).train_model("net", B.x, B.number).run(4)
    child = parent.noise().run(4)
    assert child.m("net") is not parent.m("net")
    assert parent.m("net").seen == child.m("net").seen == [0, 1]


def test_a_declaration_leaves_the_pipeline_as_it_was(dataset):
    parent = dataset.p
    parent.init_model("net", Net)
    assert "net" not in parent.models


def test_a_copy_makes_its_own(dataset):
    pipeline = dataset.p.init_model("net", Net)
    assert copy.deepcopy(pipeline).m("net") is not pipeline.m("net")


@each_mode
def test_models_go_with_their_pipeline(dataset, mode):
    pipeline = dataset.p.init_model("net", Net, mode).train_model("net", B.x).run(4)
    net = weakref.ref(pipeline.m("net"))
    del pipeline
    gc.collect()
    assert net() is None


def test_a_later_declaration_takes_the_place_of_the_first(dataset):
    chain = dataset.p.init_model("net", dict).init_model("net", Net)
    assert isinstance(chain.m("net"), Net)


def test_pipelines_that_declare_a_model_alike_can_be_added(dataset):
    first = Pipeline().init_model("net", Net, config={"rate": 2}).train_model("net", B.x)
    whole = dataset >> first + (Pipeline().init_model("net", Net, config={"rate": 2}).noise())
    assert whole.run(4).m("net").rate == 2


def test_pipelines_that_declare_a_model_differently_cannot_be_added():
    with pytest.raises(ArgumentValueError, match="both pipelines declare the model 'net'"):
        Pipeline().init_model("net", Net) + Pipeline().init_model("net", Filed)


@each_mode
def test_reset_makes_it_anew(dataset, mode):
    pipeline = dataset.p.init_model("net", Net, mode).train_model("net", B.x, B.number).run(4)
    before = pipeline.m("net")
    pipeline.reset("models").run(4)
    assert pipeline.m("net") is not before
    assert pipeline.m("net").seen == [0, 1]


def test_without_a_reset_runs_go_on_with_the_same_model(dataset):
    pipeline = dataset.p.init_model("net", Net).train_model("net", B.x, B.number).run(4).run(4)
    assert pipeline.m("net").seen == [0, 1, 0, 1]


def test_reset_of_the_variables_leaves_the_models(dataset):
    pipeline = dataset.p.init_model("net", Net).train_model("net", B.x, B.number).run(4)
    assert pipeline.reset("variables").m("net").seen == [0, 1]


# ---- training


@each_prefetch
def test_every_batch_trains_once_and_in_order(dataset, prefetch):
    chain = dataset.p.init_model("net", Net).noise().train_model("net", B.x, number=B.number)
    assert chain.run(1, n_epochs=2, prefetch=prefetch).m("net").seen == list(range(16))


def test_training_has_one_answer(dataset):
    def answer(**options):
        chain = dataset.p.init_model("net", Net).noise().train_model("net", B.x, save_to=B.loss)
        losses = [batch.loss for batch in chain.gen_batch(1, seed=3, shuffle=True, **options)]
        return digest(losses, chain.m("net").weight)

    assert len({answer(), answer(prefetch=1), answer(prefetch=4), answer(executor="serial")}) == 1


@each_prefetch
def test_holding_a_batch_means_that_no_later_one_has_trained(dataset, prefetch):
    chain = dataset.p.init_model("net", Net).train_model("net", B.x, B.number)
    for batch in chain.gen_batch(1, prefetch=prefetch):
        assert chain.m("net").seen[-1] == batch.number


def test_a_step_on_a_trained_model_is_ordered_and_on_another_it_is_not(dataset):
    chain = dataset.p.init_model("net", Net).predict_model("net", B.x, save_to=B.y)
    assert "ordered section" not in repr(chain)
    assert "ordered section" in repr(chain.train_model("net", B.x))


def test_a_step_on_a_dynamic_model_is_ordered(dataset):
    chain = dataset.p.init_model("net", Net, "dynamic").predict_model("net", B.x, save_to=B.y)
    assert "ordered section" in repr(chain)


@each_prefetch
def test_predictions_come_from_the_model_as_the_batches_before_have_left_it(dataset, prefetch):
    chain = dataset.p.init_model("net", Net).train_model("net", B.x)
    chain = chain.predict_model("net", 1, save_to=B.weight)
    weights = [float(batch.weight) for batch in chain.gen_batch(2, prefetch=prefetch)]
    assert weights == list(itertools.accumulate([1.0, 5.0, 9.0, 13.0], lambda a, b: 0.5 * a + b))


def test_fetches_choose_from_what_train_gives(dataset):
    class Told(Net):
        def train(self, x):
            return {"loss": float(x.sum()), "count": len(x)}

    chain = dataset.p.init_model("net", Told)
    chain = chain.train_model("net", B.x, fetches=["count", "loss"], save_to=[B.count, B.loss])
    batch = next(chain.gen_batch(8))
    assert (batch.count, batch.loss) == (8, 28.0)


def test_an_object_without_train_is_refused_by_name(dataset):
    with pytest.raises(ArgumentTypeError, match="cannot be trained") as caught:
        dataset.p.init_model("net", dict).train_model("net", B.x).run(4)
    assert caught.value.__notes__[0].startswith("in the action 'train_model', chained at ")


def test_the_first_argument_is_a_name(dataset):
    with pytest.raises(ArgumentTypeError, match="first argument is the name of a model"):
        dataset.p.init_model("net", Net).train_model(Net)


def test_a_model_that_nobody_declares_is_refused_when_it_is_chained(dataset):
    with pytest.raises(UnknownNameError, match=r"no model 'nett'.*Did you mean 'net'"):
        dataset.p.init_model("net", Net).train_model("nett", B.x)


def test_an_async_train_is_awaited_or_refused(dataset):
    class Slow(Net):
        async def train(self, x):
            return super().train(x)

    chain = dataset.p.init_model("net", Slow).train_model("net", B.x, save_to=B.loss)
    try:
        batch = next(chain.gen_batch(8))
    except TypeError:
        return
    assert batch.loss == 28.0


def test_a_scikit_learn_estimator_learns_the_same_at_every_prefetch(dataset):
    linear = pytest.importorskip("sklearn.linear_model")

    def answer(prefetch):
        chain = dataset.p.init_model("net", linear.SGDRegressor, config={"random_state": 1})
        chain = chain.noise().train_model("net", B.x.reshape(-1, 1) / 8, B.x)
        pipeline = chain.run(2, n_epochs=3, seed=1, prefetch=prefetch)
        return digest(pipeline.m("net").coef_, pipeline.m("net").t_)

    assert len({answer(prefetch) for prefetch in PREFETCH}) == 1


def test_what_is_fetched_of_an_estimator_does_not_change_later(dataset):
    linear = pytest.importorskip("sklearn.linear_model")
    chain = dataset.p.init_model("net", linear.SGDRegressor, config={"random_state": 1})
    chain = chain.train_model("net", B.x.reshape(-1, 1) / 8, B.x, fetches="coef_", save_to=B.coef)
    first, second = (batch.coef for batch in chain.gen_batch(4))
    assert first[0] != second[0]


# ---- actions


@each_mode
@each_prefetch
def test_an_action_gets_a_model_that_only_the_chain_declares(dataset, mode, prefetch):
    chain = dataset.p.init_model("net", Net, mode).noise().fit(2).guess()
    assert chain.run(1, prefetch=prefetch).m("net").seen == list(range(8))


def test_an_action_whose_model_is_not_declared_is_refused_with_advice(dataset):
    with pytest.raises(UnknownNameError, match=r"Define it with @model\(\).*\.init_model\('net'"):
        dataset.p.fit()


def test_a_piece_may_declare_the_model_behind_the_action(dataset):
    whole = dataset >> Pipeline().fit().init_model("net", Net)
    assert whole.run(4).m("net").seen == [0, 1]


def test_a_chain_takes_the_place_of_the_definition_of_the_class():
    class Own(Rows):
        @model()
        def net():
            return Net(rate=100)

    pipeline = Dataset.from_arrays(Own, x=np.ones(4)).p.init_model("net", Net).fit().run(2)
    assert pipeline.m("net").rate == 1
    assert Own.models["net"].seen == []


@each_mode
def test_steps_find_the_definitions_of_the_class_by_name(mode):
    if mode == "static":

        class Own(Rows):
            @model()
            def net():
                return Net()

    else:

        class Own(Rows):
            @model(mode="dynamic")
            def net(batch):
                return Net()

    pipeline = Dataset.from_arrays(Own, x=np.ones(4)).p.train_model("net", B.x, B.number)
    assert pipeline.run(1, prefetch=3).m("net").seen == [0, 1, 2, 3]


@each_prefetch
def test_batches_find_the_models_of_the_chain(dataset, prefetch):
    chain = dataset.p.init_model("net", Net).ask()
    net = chain.m("net")  # made here: a parallel action makes none
    for batch in chain.gen_batch(4, prefetch=prefetch):
        assert batch.found == (net, net)


def test_a_given_batch_finds_the_models_of_a_pipeline_without_a_dataset(dataset):
    piece = Pipeline().init_model("net", Net).ask().fit()
    batch = piece.execute_for(dataset.create_batch([1, 2]))
    assert batch.found[0].seen == [None]


def test_a_pipeline_without_a_dataset_gives_the_models_that_it_declares(dataset):
    piece = Pipeline().init_model("net", Net).fit()
    piece.execute_for(dataset.create_batch([1, 2]))
    assert piece.m("net").seen == [None]


# ---- import


@each_mode
@each_prefetch
def test_an_imported_model_is_the_same_object(dataset, mode, prefetch):
    training = dataset.p.init_model("net", Net, mode).train_model("net", B.x).run(4)
    other = dataset.p.import_model("net", training).predict_model("net", B.x, save_to=B.y)
    batch = next(other.gen_batch(8, prefetch=prefetch))
    assert other.m("net") is training.m("net")
    assert batch.y[-1] == 7 * training.m("net").weight


def test_an_imported_model_can_be_imported_again(dataset):
    first = dataset.p.init_model("net", Net)
    second = dataset.p.import_model("net", first)
    assert dataset.p.import_model("net", second).m("net") is first.m("net")


def test_a_model_of_the_class_can_be_imported_into_another_class(dataset):
    class Own(Rows):
        @model()
        def net():
            return Net()

    other = Dataset.from_arrays(Own, x=np.ones(2)).p
    assert dataset.p.import_model("net", other).m("net") is Own.models["net"]


def test_an_import_of_an_unknown_model_is_refused_at_once(dataset):
    with pytest.raises(UnknownNameError, match=r"'nett'.*Did you mean 'net'"):
        dataset.p.import_model("nett", dataset.p.init_model("net", Net))


def test_an_import_of_something_else_is_refused(dataset):
    with pytest.raises(ArgumentTypeError, match="expected a pipeline"):
        dataset.p.import_model("net", dataset)


def test_an_import_of_a_dynamic_model_that_is_not_made_is_an_error_before_the_first_batch(dataset):
    training = dataset.p.init_model("net", Net, "dynamic").train_model("net", B.x)
    chain = dataset.p.import_model("net", training).call(pytest.fail, "a batch came")
    with pytest.raises(UnknownNameError, match="has not run yet"):
        chain.predict_model("net", B.x).run(4)


def test_reset_of_the_importing_pipeline_leaves_the_model(dataset):
    training = dataset.p.init_model("net", Net).train_model("net", B.x, B.number).run(4)
    importing = dataset.p.import_model("net", training)
    assert importing.reset("models").m("net").seen == [0, 1]


# ---- runs on one model exclude each other


def test_pipelines_that_share_a_model_by_import_exclude_each_other(dataset):
    room = Room()
    one = dataset.p.init_model("net", Crowded, config={"room": room}).train_model("net", B.x)
    other = dataset.p.import_model("net", one).train_model("net", B.x)
    in_threads(lambda: one.run(2, prefetch=2), lambda: other.run(2, prefetch=2))
    assert room.most == 1


@pytest.mark.parametrize("name", ["net", "other"])
def test_pipelines_that_were_given_one_object_exclude_each_other(dataset, name):
    room = Room()
    net = Crowded(room)
    one = dataset.p.init_model("net", net).train_model("net", B.x)
    other = dataset.p.init_model(name, net).train_model(name, B.x)
    in_threads(lambda: one.run(2), lambda: other.run(2))
    assert room.most == 1


def test_values_chained_from_one_that_was_given_an_object_exclude_each_other(dataset):
    room = Room()
    base = dataset.p.init_model("net", Crowded(room))
    in_threads(
        lambda: base.train_model("net", B.x).run(2),
        lambda: base.noise().train_model("net", B.x).run(2),
    )
    assert room.most == 1


def test_pipelines_with_models_of_their_own_do_not_wait_for_each_other(dataset):
    meeting = threading.Barrier(2)

    class Meeting(Net):
        def train(self, x):
            meeting.wait(20)

    base = dataset.p.init_model("net", Meeting)
    in_threads(
        lambda: base.train_model("net", B.x).run(8),
        lambda: base.noise().train_model("net", B.x).run(8),
    )
    assert meeting.n_waiting == 0


def test_saving_waits_for_a_batch_that_trains(dataset, tmp_path):
    room = Room()

    class Saved(Crowded):
        def save(self, path):
            self.room.visit()

    one = dataset.p.init_model("net", Saved, config={"room": room}).train_model("net", B.x)
    other = dataset.p.import_model("net", one).after.save_model("net", tmp_path / "net").main
    in_threads(lambda: one.run(2), lambda: other.run(4))
    assert room.most == 1


# ---- files


@each_mode
def test_after_saves_what_the_run_has_trained(dataset, file, mode):
    chain = dataset.p.init_model("net", Filed, mode).train_model("net", B.x)
    pipeline = chain.after.save_model("net", file).run(2, prefetch=2)
    assert np.load(file) == pipeline.m("net").weight


def test_a_step_saves_at_every_batch_in_order(dataset, tmp_path):
    chain = dataset.p.init_model("net", Filed).noise().train_model("net", B.x, save_to=B.weight)
    chain = chain.save_model("net", B.number.format(str(tmp_path / "{}.npy")))
    for batch in chain.gen_batch(2, prefetch=4):
        assert np.load(tmp_path / f"{batch.number}.npy") == batch.weight


def test_saving_is_ordered_where_the_model_is_trained(dataset, file):
    chain = dataset.p.init_model("net", Filed).train_model("net", B.x).noise()
    assert repr(chain.save_model("net", file)).splitlines()[-1].strip().startswith("-- end")


def test_a_declared_model_is_loaded_before_the_first_batch(dataset, file):
    np.save(file, 3.0)
    chain = dataset.p.init_model("net", Filed).load_model("net", file)
    assert next(chain.predict_model("net", 2, save_to=B.y).gen_batch(4)).y == 6.0


def test_a_declared_model_is_loaded_once(dataset, file):
    np.save(file, 3.0)
    chain = dataset.p.init_model("net", Filed).load_model("net", file).train_model("net", B.x)
    once = chain.run(8).m("net").weight
    assert chain.run(8).m("net").weight == 0.5 * once + 28.0


def test_before_loads_at_every_run(dataset, file):
    np.save(file, 3.0)
    chain = dataset.p.init_model("net", Filed).before.load_model("net", file).main
    chain = chain.train_model("net", B.x)
    assert chain.run(8).m("net").weight == chain.run(8).m("net").weight == 1.5 + 28.0


def test_after_loads_when_the_batches_have_been(dataset, file):
    np.save(file, 3.0)
    chain = dataset.p.init_model("net", Filed).train_model("net", B.x)
    assert chain.after.load_model("net", file).run(8).m("net").weight == 3.0


def test_an_undeclared_model_is_made_of_its_class_and_the_file(dataset, file):
    np.save(file, 3.0)
    chain = dataset.p.load_model("net", Filed, "static", file).fit()
    assert chain.run(8).m("net").weight == 1.5 + 28.0


@pytest.mark.parametrize("words", [{"path": None}, {"model_class": Filed, "path": None}])
def test_the_path_can_be_given_by_name(dataset, file, words):
    np.save(file, 3.0)
    words = {**words, "path": file}
    chain = dataset.p if "model_class" in words else dataset.p.init_model("net", Filed)
    chain = chain.load_model("net", **words).predict_model("net", 2, save_to=B.y)
    assert next(chain.gen_batch(4)).y == 6.0


def test_a_dynamic_model_is_made_of_the_first_batch_and_the_file(dataset, file):
    class OfBatch(Filed):
        def __init__(self, batch):
            super().__init__(units=len(batch))

    np.save(file, 3.0)
    chain = dataset.p.load_model("net", OfBatch, "dynamic", file)
    net = chain.predict_model("net", 2, save_to=B.y).run(4).m("net")
    assert (net.units, net.weight) == (4, 3.0)


@pytest.mark.parametrize("bound", [True, False])
def test_a_model_of_the_class_is_loaded_by_a_piece_as_by_a_chain(file, bound):
    class Own(Rows):
        @model()
        def net():
            return Filed()

    np.save(file, 3.0)
    data = Dataset.from_arrays(Own, x=np.ones(2))
    chain = data.p.load_model("net", file) if bound else data >> Pipeline().load_model("net", file)
    chain.predict_model("net", B.x, save_to=B.y).run(2)
    assert Own.models["net"].weight == 3.0


def test_an_object_without_save_is_pickled_and_needs_trust(dataset, file):
    dataset.p.init_model("net", Net).fit().after.save_model("net", file).run(8)
    with pytest.raises(ArgumentValueError, match="trust=True"):
        dataset.p.load_model("net", file).fit().run(8)
    assert dataset.p.load_model("net", file, trust=True).m("net").weight == 28.0


def test_a_pickle_cannot_go_into_a_model_that_is_there(dataset, file):
    dataset.p.init_model("net", Net).fit().after.save_model("net", file).run(8)
    chain = dataset.p.init_model("net", Net).load_model("net", file, trust=True).fit()
    with pytest.raises(ArgumentTypeError, match="for a name that is not declared"):
        chain.run(8)


def test_a_missing_path_is_refused_at_once(dataset):
    with pytest.raises(ArgumentTypeError, match="path of the file is missing"):
        dataset.p.load_model("net", Filed)


def test_a_missing_file_is_an_error_before_the_first_batch(dataset, file):
    chain = dataset.p.load_model("net", Filed, path=file).call(pytest.fail, "a batch came")
    with pytest.raises(FileNotFoundError):
        chain.fit().run(4)


@pytest.mark.parametrize("moment", ["once", "before", "after"])
def test_an_unknown_model_is_refused_at_a_moment_too(dataset, moment):
    with pytest.raises(UnknownNameError, match="no model 'nett'"):
        getattr(dataset.p.init_model("net", Net), moment).save_model("nett", "file")
