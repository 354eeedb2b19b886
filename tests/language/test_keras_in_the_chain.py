"""A Keras model in a chain, directly: built, trained, asked, saved and loaded by its steps."""

import functools

import numpy as np
import pytest
from kit import does_not_raise

from batchflow import ArrayBatch, B, C, Dataset, Pipeline, V, action, model
from batchflow.testing import digest, nothing_left

pytestmark = pytest.mark.tensorflow

PREFETCH = (0, 4)
keras_warns = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
each_prefetch = pytest.mark.parametrize("prefetch", PREFETCH)


class Rows(ArrayBatch):
    components = "x", "y"

    @action
    def noise(self):
        self.x = self.x + self.rng.normal(0, 0.1, size=self.x.shape).astype("float32")
        return self

    @action(model="net")
    def guess(self, net):
        self.guessed = net.predict_on_batch(self.x)
        return self

    @action(model="net", singleton=True)
    def fit(self, net):
        net.train_on_batch(self.x, self.y)
        return self


def make_dataset():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(24, 3)).astype("float32")
    return Dataset.from_arrays(Rows, x=x, y=x.sum(axis=1, keepdims=True))


@pytest.fixture
def dataset():
    return make_dataset()


def build(units=4, rate=0.01, dropout=0.5, metrics=(), compiled=True):
    import keras  # on use

    seeded = functools.partial(keras.initializers.GlorotUniform, seed=1)
    net = keras.Sequential(
        [
            keras.Input((3,)),
            keras.layers.Dense(units, kernel_initializer=seeded()),
            keras.layers.Dropout(dropout, seed=2),
            keras.layers.Dense(1, kernel_initializer=seeded(), name="out"),
        ]
    )
    if compiled:
        net.compile(keras.optimizers.SGD(rate, momentum=0.9), "mse", metrics=[*metrics])
        net.optimizer.build(net.trainable_variables)  # or each is traced twice
    return net


def state(net):
    variables = [*net.variables, *net.optimizer.variables]
    return digest(*(np.asarray(variable) for variable in variables))


MEASURED = {"metrics": ["mae"]}


def logs_of_the_first_batch(dataset, **config):
    batch = next(dataset.gen_batch(8))
    return build(**config).train_on_batch(batch.x, batch.y, return_dict=True)


def trained(dataset, **options):
    chain = dataset.p.init_model("net", build).noise().train_model("net", B.x, B.y)
    return chain.run(5, n_epochs=2, seed=1, **options)


# ---- one answer


def test_weights_and_optimizer_are_the_same_bits_at_every_prefetch(dataset):
    states = {state(trained(dataset, prefetch=prefetch).m("net")) for prefetch in PREFETCH}
    assert states == {state(trained(dataset, executor="serial").m("net"))}


def test_training_changes_the_weights(dataset):
    assert state(trained(dataset).m("net")) != state(build())


@each_prefetch
def test_every_batch_is_one_step_of_the_optimizer(dataset, prefetch):
    assert int(trained(dataset, prefetch=prefetch).m("net").optimizer.iterations) == 10


def test_the_steps_are_those_of_a_plain_loop(dataset):
    net = build()
    for batch in dataset.p.noise().gen_batch(5, n_epochs=2, seed=1):
        net.train_on_batch(batch.x, batch.y)
    assert state(net) == state(trained(dataset, prefetch=4).m("net"))


def test_two_pipelines_train_models_of_their_own(dataset):
    first = trained(dataset)
    second = first.noise().run(5, seed=1)
    assert first.m("net") is not second.m("net")


@pytest.mark.parametrize("mode", ["static", "dynamic"])
def test_the_model_itself_may_be_given(dataset, mode):
    net = build()
    chain = dataset.p.init_model("net", net, mode).train_model("net", B.x, B.y)
    assert chain.run(8).m("net") is net
    assert int(net.optimizer.iterations) == 3


@pytest.mark.parametrize("mode", ["static", "dynamic"])
def test_expressions_of_the_config_reach_the_builder(dataset, mode):
    chain = dataset.pipeline({"units": 7}).init_variable("rate", 0.25)
    chain = chain.init_model("net", build, mode, config={"units": C("units"), "rate": V("rate")})
    net = chain.train_model("net", B.x, B.y).run(8).m("net")
    assert net.layers[0].units == 7
    assert float(net.optimizer.learning_rate) == 0.25


def test_no_thread_is_left(dataset):
    trained(dataset)  # what TensorFlow itself keeps
    with nothing_left():
        trained(dataset, prefetch=4)


# ---- what is given and what is fetched


def test_without_fetches_the_loss_is_given(dataset):
    chain = dataset.p.init_model("net", build).train_model("net", B.x, B.y, save_to=B.loss)
    batch = next(chain.gen_batch(8))
    assert batch.loss == logs_of_the_first_batch(dataset)["loss"]


def test_losses_and_metrics_are_fetched_in_their_order(dataset):
    chain = dataset.p.init_model("net", build, config=MEASURED).init_variable("loss", init=list)
    chain = chain.train_model(
        "net", B.x, B.y, fetches=["mae", "loss"], save_to=[B.mae, V("loss", "a")]
    )
    batch = next(chain.gen_batch(8))
    logs = logs_of_the_first_batch(dataset, **MEASURED)
    assert (batch.mae, chain.v("loss")) == (logs["mae"], [logs["loss"]])


def test_a_fetched_metric_is_of_its_batch_alone(dataset):
    chain = dataset.p.init_model("net", build, config={"rate": 0.0, "dropout": 0.0, **MEASURED})
    chain = chain.train_model("net", B.x, B.y, fetches="mae", save_to=B.mae)
    maes = [float(batch.mae) for batch in chain.gen_batch(8)]
    expected = []
    for batch in dataset.p.gen_batch(8):
        net = build(rate=0.0, dropout=0.0, **MEASURED)
        expected.append(float(net.train_on_batch(batch.x, batch.y, return_dict=True)["mae"]))
    np.testing.assert_allclose(maes, expected, rtol=1e-5)
    assert len(set(maes)) == 3


@pytest.mark.parametrize("named", [False, True])
def test_sample_weights_are_used(dataset, named):
    chain = dataset.p.init_model("net", build)
    if named:
        chain = chain.train_model("net", x=B.x, y=B.y, sample_weight=B.y[:, 0] * 0)
    else:
        chain = chain.train_model("net", B.x, B.y, B.y[:, 0] * 0)
    net = chain.run(8).m("net")
    np.testing.assert_array_equal(net.get_weights()[0], build().get_weights()[0])


def test_an_unknown_fetch_is_refused_with_a_suggestion(dataset):
    chain = dataset.p.init_model("net", build, config=MEASURED)
    chain = chain.train_model("net", B.x, B.y, fetches="maee")
    with pytest.raises(KeyError, match="Did you mean 'mae'"):
        chain.run(8)


def test_a_model_that_is_not_compiled_says_so(dataset):
    chain = dataset.p.init_model("net", build, config={"compiled": False})
    with pytest.raises(TypeError, match="not compiled"):
        chain.train_model("net", B.x, B.y).run(8)


def test_predictions_behind_training_see_the_trained_weights(dataset):
    chain = dataset.p.init_model("net", build).train_model("net", B.x, B.y)
    chain = chain.predict_model("net", B.x, save_to=B.guess)
    run = chain.gen_batch(8, prefetch=4)
    batch = next(run)
    np.testing.assert_array_equal(batch.guess, chain.m("net").predict_on_batch(batch.x))
    run.close()


def test_predictions_in_parallel_are_those_of_the_model(dataset):
    chain = dataset.p.init_model("net", build).noise().predict_model("net", B.x, save_to=B.guess)
    serial = [batch.guess for batch in chain.gen_batch(4, seed=1)]
    parallel = [batch.guess for batch in chain.gen_batch(4, seed=1, prefetch=4)]
    assert digest(*serial) == digest(*parallel)


def test_a_test_gives_the_loss_and_all_metrics_by_name(dataset):
    chain = dataset.p.init_model("net", build, config=MEASURED)
    chain = chain.evaluate_model("net", B.x, B.y, save_to=B.logs)
    batch = next(chain.gen_batch(8))
    assert batch.logs == build(**MEASURED).test_on_batch(batch.x, batch.y, return_dict=True)
    assert list(batch.logs) == ["loss", "mae"]


def test_a_test_behind_training_is_the_same_at_every_prefetch(dataset):
    def values(prefetch):
        chain = dataset.p.init_model("net", build, config=MEASURED)
        chain = chain.init_variable("mae", init=list).noise()
        chain = chain.train_model("net", B.x, B.y)
        chain = chain.evaluate_model("net", B.x, B.y, fetches="mae", save_to=V("mae", "a"))
        chain.run(5, n_epochs=2, seed=1, prefetch=prefetch)
        return state(chain.m("net")), [float(value) for value in chain.v("mae")]

    alone = state(trained(dataset).m("net"))
    first, second = map(values, PREFETCH)
    assert first == second
    assert first[0] == alone


def test_an_output_is_fetched_by_its_name(dataset):
    chain = dataset.p.init_model("net", build)
    chain = chain.predict_model("net", B.x, fetches=["out", 0], save_to=[B.named, B.first])
    batch = next(chain.gen_batch(4))
    np.testing.assert_array_equal(batch.named, batch.first)


@pytest.mark.backends("tensorflow", "torch")  # on JAX it breaks, as the warning says
def test_actions_in_parallel_that_work_on_it_are_warned_of(dataset):
    chain = dataset.p.init_model("net", build).guess()
    with pytest.warns(UserWarning, match=r"'guess'.*in several threads"):
        chain.run(8, prefetch=2)


def test_actions_that_are_ordered_by_training_are_not_warned_of(dataset):
    chain = dataset.p.init_model("net", build).fit().guess()
    with does_not_raise():  # a warning is an error in the tests
        chain.run(8, prefetch=2)


def test_the_definition_of_a_class_is_trained_by_name():
    class Own(Rows):
        @model()
        def net():
            return build()

    x = np.ones((8, 3), "float32")
    chain = Dataset.from_arrays(Own, x=x, y=x[:, :1]).p.train_model("net", B.x, B.y)
    assert chain.run(4, prefetch=2).m("net") is Own.models["net"]
    assert int(Own.models["net"].optimizer.iterations) == 2


# ---- files


@keras_warns
@pytest.mark.parametrize("name", ["net.npz", "net.keras"])
@pytest.mark.parametrize("way", ["load_model", "before", "new"])
def test_a_new_pipeline_predicts_what_the_saved_one_does(dataset, tmp_path, name, way):
    path = tmp_path / name
    chain = dataset.p.init_model("net", build).noise().train_model("net", B.x, B.y)
    chain.after.save_model("net", path).run(5, prefetch=4, seed=1)
    old = prediction_of_a_plain_loop()
    if way == "new":
        loaded = dataset.p.load_model("net", build, path=path)
    elif way == "before":
        loaded = dataset.p.init_model("net", build).before.load_model("net", path).main
    else:
        loaded = dataset.p.init_model("net", build).load_model("net", path)
    batch = next(loaded.predict_model("net", B.x, save_to=B.guess).gen_batch(24, prefetch=2))
    np.testing.assert_array_equal(batch.guess, old)


@functools.cache
def prediction_of_a_plain_loop():
    net, dataset = build(), make_dataset()
    for batch in dataset.p.noise().gen_batch(5, seed=1):
        net.train_on_batch(batch.x, batch.y)
    return net.predict_on_batch(next(dataset.gen_batch(24)).x)


@keras_warns
def test_a_whole_model_is_loaded_without_a_builder(dataset, tmp_path):
    path = tmp_path / "net.keras"
    chain = dataset.p.init_model("net", build).fit().after.save_model("net", path).run(8)
    loaded = dataset.p.load_model("net", path)
    x = next(dataset.gen_batch(24)).x
    expected = chain.m("net").predict_on_batch(x)
    np.testing.assert_array_equal(loaded.m("net").predict_on_batch(x), expected)


@keras_warns
@pytest.mark.parametrize("name", ["net.npz", "net.keras"])
def test_training_goes_on_with_the_same_bits(dataset, tmp_path, name):
    path = tmp_path / name
    fit = Pipeline().train_model("net", B.x, B.y)
    base = dataset.p.init_model("net", build) + fit
    base.after.save_model("net", path).run(8)
    whole = (dataset.p.init_model("net", build) + fit).run(8).run(8)
    resumed = (dataset.p.init_model("net", build).load_model("net", path) + fit).run(8)
    assert state(resumed.m("net")) == state(whole.m("net"))


def test_a_state_without_a_model_is_refused_with_advice(dataset, tmp_path):
    path = tmp_path / "net.npz"
    dataset.p.init_model("net", build).fit().after.save_model("net", path).run(8)
    with pytest.raises(ValueError, match="give a builder"):
        dataset.p.load_model("net", path).fit().run(8)


def test_a_model_that_fails_to_save_is_told(dataset, tmp_path):
    chain = dataset.p.init_model("net", build).fit()
    with pytest.raises(ValueError, match="does not exist"):
        chain.after.save_model("net", tmp_path / "no" / "net.npz").run(8)
