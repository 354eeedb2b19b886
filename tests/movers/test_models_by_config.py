"""`init_model(name, C("model"), ...)`: the class of a model comes from the config."""

import functools

import numpy as np
import pytest

from batchflow import (
    ArgumentTypeError,
    ArrayBatch,
    B,
    C,
    D,
    Dataset,
    F,
    L,
    Pipeline,
    R,
    UnknownNameError,
    V,
    W,
    action,
)


class Rows(ArrayBatch):
    components = "x"

    @action(model="net", singleton=True)
    def fit(self, net):
        net.train(self.x)
        return self


DATASET = Dataset.from_arrays(Rows, x=np.arange(6.0))


class Net:
    def __init__(self, rate=1.0):
        self.rate, self.seen = rate, []

    def train(self, x):
        self.seen.append(self.rate * float(x.sum()))
        return self.seen[-1]

    def predict(self, x):
        return x + len(self.seen)


TEMPLATE = (
    Pipeline()
    .init_variable("loss", [])
    .init_model("net", C("model"), "dynamic")
    .train_model("net", B.x, save_to=V("loss", "a"))
)


@pytest.mark.parametrize("how", [{}, {"prefetch": 3}, {"executor": "serial"}], ids=str)
def test_a_template_trains_the_class_of_the_config(how):
    done = ({"model": Net} >> (DATASET >> TEMPLATE)).run(2, **how)
    assert done.v("loss") == done.m("net").seen == [1.0, 5.0, 9.0]


def test_every_way_to_give_the_config_is_the_same():
    ways = [
        DATASET.pipeline({"model": Net}) + TEMPLATE,
        {"model": Net} >> (DATASET >> TEMPLATE),
        DATASET >> (TEMPLATE << {"model": Net}),
        DATASET >> (Pipeline(config={"model": Net}) + TEMPLATE),
    ]
    assert [way.run(2).v("loss") for way in ways] == [[1.0, 5.0, 9.0]] * 4


@pytest.mark.parametrize("mode", ["static", "dynamic"])
@pytest.mark.parametrize("entry", [C("net/class"), C()("net/class")], ids=repr)
def test_both_modes_and_a_path_do(mode, entry):
    chain = DATASET.p.init_model("net", entry, mode, config={"rate": C("net/rate")}).fit()
    done = ({"net": {"class": Net, "rate": 10}} >> chain).run(3)
    assert done.m("net").seen == [30.0, 120.0]


@pytest.mark.parametrize(
    "builder", [Net, functools.partial(Net, 1.0), lambda rate=1.0: Net(rate)], ids=["c", "p", "f"]
)
def test_whatever_makes_a_model_may_be_in_the_config(builder):
    done = ({"model": builder} >> (DATASET >> TEMPLATE)).run(6)
    assert done.v("loss") == [15.0]


def test_the_model_itself_may_be_in_the_config_and_is_shared():
    net = Net()
    one = {"model": net} >> (DATASET >> TEMPLATE)
    two = {"model": net} >> (DATASET >> TEMPLATE)
    one.run(6), two.run(6)
    assert one.m("net") is two.m("net") is net
    assert net.seen == [15.0, 15.0]
    assert one.models.slot("net") is two.models.slot("net")


def test_two_pipelines_of_a_template_have_models_of_their_own():
    one, two = (({"model": Net} >> (DATASET >> TEMPLATE)).run(6) for _ in range(2))
    assert one.m("net") is not two.m("net")


def test_a_default_of_the_config_is_taken():
    chain = DATASET.p.init_model("net", C("model", default=Net)).fit()
    assert chain.run(6).m("net").seen == [15.0]


def test_a_missing_entry_is_an_error_before_the_first_batch():
    with pytest.raises(UnknownNameError, match="the config has no 'model'"):
        (DATASET >> TEMPLATE).run(2)


@pytest.mark.parametrize("wrong", ["Net", {"class": Net}, None, W(Net)], ids=repr)
def test_an_entry_that_makes_no_model_is_refused(wrong):
    with pytest.raises(ArgumentTypeError, match="init_model\\('net'\\)"):
        ({"model": wrong} >> (DATASET >> TEMPLATE)).run(2)


@pytest.mark.parametrize(
    "expression",
    [B.x, B(), V("net"), D.net, F(Net), F(Net)(), L(Net)(), R.normal(), W(Net), C("model").net],
    ids=repr,
)
def test_any_other_expression_as_a_model_is_refused(expression):
    for chain in (DATASET.p, Pipeline()):
        with pytest.raises(ArgumentTypeError, match="class or a function"):
            chain.init_model("net", expression)
    with pytest.raises(ArgumentTypeError, match="class or a function"):
        DATASET.p.init_model("net", expression, "dynamic", {"rate": 1})


@pytest.mark.parametrize("expression", [C("model"), V("net"), W(Net)], ids=repr)
def test_an_expression_as_the_class_of_a_loaded_model_is_refused(expression):
    with pytest.raises(ArgumentTypeError, match="Declare it"):
        DATASET.p.load_model("net", expression, path="net.npz")


def test_a_model_of_the_config_is_imported_like_any_other():
    trained = ({"model": Net} >> (DATASET >> TEMPLATE)).run(2)
    chain = DATASET.p.import_model("net", trained).predict_model("net", B.x, save_to=B.out)
    assert next(chain.gen_batch(2)).out.tolist() == [3.0, 4.0]


def test_check_knows_the_model():
    assert ({"model": Net} >> (DATASET >> TEMPLATE)).check(2).problems == []
