"""Variables in chains, values that are stored, and the steps that every batch class has."""

import threading

import kit
import numpy as np
import pytest

from batchflow import (
    ActionResultError,
    ArgumentTypeError,
    ArrayBatch,
    B,
    C,
    Config,
    Dataset,
    F,
    L,
    Pipeline,
    R,
    UnknownNameError,
    V,
    action,
)
from batchflow.testing import digest

PREFETCH = (0, 1, 4, 16)


class Rows(kit.Rows):
    @action
    def mean(self):
        return self.x.mean()

    @action
    def both(self):
        return self.x.min(), self.x.max()


@pytest.fixture
def dataset():
    return Dataset.from_arrays(Rows, x=np.arange(40.0).reshape(20, 2), y=np.arange(20))


# ---- update and save_to


@pytest.mark.parametrize("prefetch", PREFETCH)
def test_an_update_that_reads_and_writes_loses_nothing(dataset, prefetch):
    def slowly(value):
        threading.Event().wait(1e-4)
        return value + 1

    pipeline = dataset.p.init_variable("n", 0).noise().update(V("n"), F(slowly)(V("n")))
    pipeline.run(1, n_epochs=3, prefetch=prefetch)
    assert pipeline.v("n") == 60


@pytest.mark.parametrize("prefetch", PREFETCH)
def test_histories_are_in_the_order_of_the_batches(dataset, prefetch):
    pipeline = dataset.p.init_variable("seen", init=list).noise().update(V("seen", "a"), B.number)
    pipeline.run(2, n_epochs=2, prefetch=prefetch)
    assert pipeline.v("seen") == list(range(20))


@pytest.mark.parametrize(
    ("mode", "initial", "value", "after"),
    [
        ("w", 1, 2, 2),
        ("write", [1], [2], [2]),
        ("a", [1], 2, [1, 2]),
        ("append", None, 2, [2]),
        ("e", [1], [2, 3], [1, 2, 3]),
        ("extend", None, (2,), [2]),
        ("u", {"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
        ("update", {1}, [2], {1, 2}),
        ("u", None, {"b": 2}, {"b": 2}),
    ],
)
def test_the_modes_of_storing(dataset, mode, initial, value, after):
    pipeline = dataset.p.init_variable("v", initial).update(V("v", mode=mode), value)
    assert pipeline.run(20).v("v") == after


def test_a_mode_that_does_not_fit_says_so(dataset):
    with pytest.raises(TypeError, match="holds a int, which has no append"):
        dataset.p.init_variable("v", 1).update(V("v", "a"), 2).run(20)


@pytest.mark.parametrize("prefetch", PREFETCH)
def test_save_to_stores_what_an_action_gives(dataset, prefetch):
    chain = dataset.p.init_variable("means", init=list).scale(2).mean(save_to=V("means", "a"))
    assert chain.run(10, prefetch=prefetch).v("means") == [19.0, 59.0]


def test_save_to_stores_in_the_batch_without_ordering_anything(dataset):
    chain = dataset.p.mean(save_to=B.average).both(save_to=[B.low, B.high])
    batch = next(chain.gen_batch(20))
    assert (batch.average, batch.low, batch.high) == (19.5, 0.0, 39.0)
    assert "ordered section" not in repr(chain)


def test_save_to_takes_a_mapping(dataset):
    chain = dataset.p.call(lambda: {"a": 1, "b": 2}, save_to={"b": B.stored})
    assert next(chain.gen_batch(20)).stored == 2
    whole = dataset.p.init_variable("x").call(lambda: {"a": 1}, save_to=V("x"))
    assert whole.run(20).v("x") == {"a": 1}


def test_save_to_needs_a_value(dataset):
    with pytest.raises(ActionResultError, match="no value to store"):
        dataset.p.scale(2, save_to=B.z).run(20)
    with pytest.raises(ValueError, match="2 places"):
        dataset.p.mean(save_to=[B.a, B.b]).run(20)
    with pytest.raises(TypeError, match="'name' is no place to store"):
        dataset.p.mean(save_to="name")


def test_update_needs_a_place(dataset):
    with pytest.raises(TypeError, match="'loss' is no place to store"):
        dataset.p.update("loss", 1)
    with pytest.raises(TypeError, match=r"Declared as update\(batch, target, value, /\)"):
        dataset.p.update(B.x)
    with pytest.raises(TypeError, match="no place to store"):
        dataset.p.update(B.x + 1, 1).run(20)


def test_items_are_places(dataset):
    pipeline = dataset.p.init_variable("d", init=dict).update(V("d")["k"], B.number)
    assert pipeline.run(10).v("d") == {"k": 1}
    assert "ordered section" in repr(pipeline)


def test_an_undeclared_variable_is_refused_before_the_run(dataset):
    pipeline = dataset.p.init_variable("loss").update(V("los"), 1)
    with pytest.raises(UnknownNameError, match=r"update\(V\('los'\), 1\).*Did you mean 'loss'"):
        pipeline.gen_batch(5)


def test_a_variable_that_is_only_read_orders_nothing(dataset):
    pipeline = dataset.p.init_variable("factor", 3).scale(V("factor"))
    assert "ordered section" not in repr(pipeline)
    pipeline.set_variable("factor", 5)
    assert next(pipeline.gen_batch(20, prefetch=2)).x[-1, -1] == 39 * 5


def test_a_step_that_reads_what_another_writes_is_ordered(dataset):
    pipeline = dataset.p.init_variable("n", 0).scale(V("n")).noise().update(V("n"), V("n") + 1)
    lines = repr(pipeline).splitlines()
    assert lines[1].strip().startswith("-- ordered section")
    sums = [b.x.sum() for b in pipeline.scale(0).gen_batch(10, prefetch=4)]
    assert len(sums) == 2


@pytest.mark.parametrize("prefetch", PREFETCH)
def test_parallel_actions_cannot_read_what_a_step_writes(prefetch):
    class Reading(Rows):
        @action
        def read(self):
            self.seen = self.pipeline.v("n")
            return self

    data = Dataset.from_arrays(Reading, x=np.ones((4, 2)), y=np.ones(4))
    chain = data.p.init_variable("n", 0)
    assert next(chain.read().gen_batch(2, prefetch=prefetch)).seen == 0
    with pytest.raises(ValueError, match=r"cannot read the variable 'n'.*singleton=True.*V\('n'\)"):
        chain.read().update(V("n"), 1).run(2, prefetch=prefetch)
    chain.update(V("n"), 1).read().update(V("n"), 2).run(2, prefetch=prefetch)  # in the section


# ---- built-in steps


def test_call_calls_with_values_resolved(dataset):
    got = []
    list(dataset.p.call(lambda *a, **k: got.append((a, k)), B.number, k=[B.epoch]).gen_batch(10))
    assert got == [((0,), {"k": [0]}), ((1,), {"k": [0]})]


def test_print_prints(dataset, capsys):
    dataset.p.print("batch", B.number, sep=": ").run(10)
    assert capsys.readouterr().out == "batch: 0\nbatch: 1\n"


def test_do_nothing_does_nothing_with_any_arguments(dataset):
    assert (
        len(list(dataset.p.do_nothing(1, B.no_such_thing.str if False else 2).gen_batch(10))) == 2
    )


@pytest.mark.parametrize("prefetch", PREFETCH)
def test_discarded_batches_are_not_delivered(dataset, prefetch):
    chain = dataset.p.discard_batch() @ 0.5
    serial = [b.number for b in chain.gen_batch(1, seed=1)]
    assert 0 < len(serial) < 20
    assert [b.number for b in chain.gen_batch(1, seed=1, prefetch=prefetch)] == serial


def test_an_action_takes_the_place_of_a_built_in_step(capsys):
    class Own(ArrayBatch):
        @action
        def print(self, word):
            self.word = word
            return self

    dataset = Dataset(2, Own)
    assert next(dataset.p.print("mine").gen_batch(2)).word == "mine"
    assert next((dataset >> Pipeline().print("mine")).gen_batch(2)).word == "mine"
    assert capsys.readouterr().out == ""


# ---- config


def test_the_config_is_read_by_paths(dataset):
    pipeline = {"model": {"factor": 3}} >> dataset.p.scale(C("model/factor"))
    assert next(pipeline.gen_batch(20)).x[-1, -1] == 39 * 3
    assert next((pipeline << {"model/factor": 4}).gen_batch(20)).x[-1, -1] == 39 * 4
    assert next((pipeline << {"other": 4}).gen_batch(20)).x[-1, -1] == 39 * 3


def test_a_missing_entry_is_an_error_or_the_default(dataset):
    with pytest.raises(UnknownNameError, match=r"no 'factr'.*Did you mean 'factor'"):
        dataset.pipeline({"factor": 1}).scale(C("factr")).run(20)
    assert next(dataset.p.scale(C("factor", default=2)).gen_batch(20)).x[-1, -1] == 78
    assert next(dataset.p.call(C, save_to=B.c).gen_batch(20) if False else dataset.p.gen_batch(20))


def test_a_config_is_a_value():
    config = Config({"a": {"b": 1}}, items=3)
    other = config.update({"a/c": 2})
    assert (config["a"], other["a"], other["items"]) == ({"b": 1}, {"b": 1, "c": 2}, 3)
    assert config == Config({"a/b": 1, "items": 3})
    assert hash(config) == hash(Config({"a/b": 1, "items": 3}))
    assert dict(config) == {"a": {"b": 1}, "items": 3}


# ---- algebra


def trace(pipeline, **options):
    seen = [(b.number, digest(b.x)) for b in pipeline.gen_batch(3, seed=5, n_epochs=3, **options)]
    return seen, [pipeline.v(name) for name in ("n",) if pipeline.has_variable(name)]


@pytest.mark.parametrize("prefetch", PREFETCH)
def test_chances_repetitions_and_their_nesting_have_one_answer(dataset, prefetch):
    base = dataset.p.init_variable("n", 0)
    piece = Pipeline().noise() @ 0.5
    whole = base + (piece * 3 + Pipeline().update(V("n"), V("n") + B.x.sum()) @ 0.7) @ 0.8
    expected = trace(whole, executor="serial")
    whole.reset("vars")
    assert trace(whole, prefetch=prefetch) == expected


def test_a_chance_leaves_its_operand_as_it_is(dataset):
    piece = dataset.p.scale(2)
    half, thrice = piece @ 0.5, piece * 3
    assert [len(p._plan.steps) for p in (piece, half, thrice)] == [1, 1, 3]
    assert next(piece.gen_batch(20)).x[-1, -1] == 78
    assert next(thrice.gen_batch(20)).x[-1, -1] == 39 * 8


@pytest.mark.parametrize(("probability", "factor"), [(0, 1), (0.0, 1), (1, 2), (1.0, 2)])
def test_certain_chances(dataset, probability, factor):
    assert next((dataset.p.scale(2) @ probability).gen_batch(20)).x[-1, -1] == 39 * factor


def test_the_coin_falls_with_its_probability(dataset):
    taken = [
        b.x.sum() == 0
        for b in (dataset.p.scale(0) @ 0.3).gen_batch(1, n_epochs=100, seed=1, shuffle=True)
    ]
    assert 0.26 < np.mean(taken) < 0.34


@pytest.mark.parametrize("probability", [1.5, -0.5, float("nan")])
def test_impossible_probabilities_are_refused_when_chained(dataset, probability):
    with pytest.raises(ValueError, match="from 0 to 1"):
        dataset.p.scale(2) @ probability


def test_zero_times_is_no_step(dataset):
    called = []
    (dataset.p.call(called.append, 1) * 0).run(10)
    assert called == []
    assert (Pipeline() * 2)._plan.steps == ()
    with pytest.raises(ValueError, match="cannot be repeated"):
        dataset.p * -1
    with pytest.raises(TypeError):
        dataset.p * 1.5


def test_repetition_keeps_dataset_and_variables(dataset):
    pipeline = dataset.p.init_variable("n", 0).update(V("n"), V("n") + 1) * 2
    assert pipeline.run(10).v("n") == 4


def test_algebra_laws(dataset):
    a, b, c = (Pipeline().scale(k) for k in (1, 2, 3))
    assert (a + b) + c == a + (b + c)
    assert a * 2 == a + a
    assert (a + b) * 2 == a + b + a + b
    assert a * 1 == a
    assert dataset >> (a + b) == (dataset >> a) + b
    assert (a @ 0.5) * 2 == (a @ 0.5) + (a @ 0.5)
    assert a @ 0.5 != a @ 0.6


def test_an_error_in_a_chance_names_the_action(dataset):
    piece = Pipeline().call(lambda: 1 / 0) @ 1.0
    with pytest.raises(ZeroDivisionError) as caught:
        (dataset >> piece).run(5, prefetch=4)
    assert caught.value.__notes__[0].startswith("in the action 'call', chained at ")
    assert len(caught.value.__notes__) == 3


def test_a_chance_with_an_ordered_step_is_ordered(dataset):
    chain = dataset.p.init_variable("n", 0) + Pipeline().update(V("n"), R.integers(9)) @ 0.5
    assert "ordered section" in repr(chain)


# ---- initial values by expressions


@pytest.mark.parametrize(
    "arguments",
    [
        {"default": F(list)},
        {"default": L(list)},
        {"default": L(list, ())},
        {"default": L(list)(())},
        {"init": F(list)},
        {"init_on_each_run": F(list)},
        {"init_on_each_run": L(list, ())},
    ],
)
def test_an_expression_makes_the_initial_value_anew(arguments):
    pipelines = [Dataset(2).p.init_variable("seen", **arguments) for _ in range(2)]
    pipelines[0].v("seen").append(1)
    assert [pipeline.v("seen") for pipeline in pipelines] == [[1], []]


def test_an_initial_value_that_needs_a_batch_is_refused_when_it_is_made():
    with pytest.raises(ArgumentTypeError, match=r"B\.x.*needs a batch|B needs a batch"):
        Dataset(2).p.init_variable("seen", B.x).v("seen")


def test_a_value_for_each_run_is_refused_with_what_to_write():
    with pytest.raises(ArgumentTypeError, match=r"default=\.\.\., init_on_each_run=True"):
        Dataset(2).p.init_variable("counter", init_on_each_run=0)
