"""Expressions: late values, resolved for each batch."""

import copy
import operator
import pickle
from typing import NamedTuple

import numpy as np
import pytest

from batchflow import ArgumentTypeError, ArrayBatch, B, C, D, Dataset, F, I, R, V, W, action
from batchflow.testing import digest

from .conftest import PREFETCH


class Rows(ArrayBatch):
    components = "x", "y"

    @action
    def scale(self, factor=1, *more, **named):
        self.x = self.x * factor
        self.seen = (factor, more, named)
        return self


@pytest.fixture
def dataset():
    return Dataset.from_arrays(Rows, x=np.arange(20.0).reshape(10, 2), y=np.arange(10))


@pytest.fixture
def batch():
    batch = Rows([0, 1, 2])
    batch.x, batch.y = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], [7, 8, 9]
    return batch


# ---- operators


@pytest.mark.parametrize(
    "symbol",
    [
        "add",
        "sub",
        "mul",
        "truediv",
        "floordiv",
        "mod",
        "pow",
        "and_",
        "or_",
        "xor",
        "lshift",
        "rshift",
        "lt",
        "le",
        "gt",
        "ge",
        "eq",
        "ne",
    ],
)
def test_every_operator_works_from_both_sides(batch, symbol):
    function = getattr(operator, symbol)
    np.testing.assert_array_equal(function(B.y, 2).get(batch), function(batch.y, 2))
    np.testing.assert_array_equal(function(2, B.y).get(batch), function(2, batch.y))


@pytest.mark.parametrize("function", [operator.neg, operator.pos, operator.invert, abs])
def test_operators_of_one_value(batch, function):
    np.testing.assert_array_equal(function(B.y).get(batch), function(batch.y))


def test_an_array_may_stand_on_the_left(batch):
    np.testing.assert_array_equal((np.ones((3, 2)) * B.x).get(batch), batch.x)
    np.testing.assert_array_equal((np.float64(2) - B.y).get(batch), 2 - batch.y)


def test_names_that_expressions_have_themselves_are_reached_by_a_call(batch):
    batch.get, batch.format = 1, 2
    assert (B("get") + B("format")).get(batch) == 3


def test_matrices_are_multiplied(batch):
    np.testing.assert_array_equal((B.x.T @ B.x).get(batch), batch.x.T @ batch.x)


def test_attributes_items_calls_and_nesting(batch):
    assert (B.x.shape[0] + B.x[0, 1] * B.x.mean(axis=0)[1]).get(batch) == 3 + 2 * 4
    assert B("y").tolist().get(batch) == [7, 8, 9]
    assert F(dict)(a=B.y[0], b=[B.y[1], (B.y[2],)]).get(batch) == {"a": 7, "b": [8, (9,)]}


def test_the_batch_itself(batch):
    assert B().get(batch) is batch
    assert B.get(batch) is batch
    assert F(len)(B()).get(batch) == 3


def test_strings_and_formats(batch):
    assert B.y[0].str().get(batch) == "7"
    assert B.y[0].format("{:03d}").get(batch) == "007"
    assert (B.y[0].str() + "!").get(batch) == "7!"


# ---- what expressions are not


@pytest.mark.parametrize(
    "use",
    [
        bool,
        list,
        len,
        lambda e: e and 1,
        lambda e: V("a") in [e],
        lambda e: 1 in e,
        lambda e: 0 < e < 2,
    ],
)
def test_what_only_a_value_can_answer_is_refused(use):
    with pytest.raises(ArgumentTypeError, match=r"before a batch is there|not known before"):
        use(B.x > 1)


def test_expressions_are_frozen():
    with pytest.raises(AttributeError, match="frozen"):
        B.x.y = 3


def test_private_names_are_not_expressions():
    assert not hasattr(B, "_x")
    assert not hasattr(B.x, "__array__")


@pytest.mark.parametrize("expression", [B.x + 1, V("a", "e"), C("a/b", default=3), F(len)(B.y)])
def test_copies_and_pickles_are_the_same_expression(expression, dataset):
    pipeline = dataset.p.scale(expression)
    assert copy.deepcopy(expression) is expression
    assert dataset.p.scale(pickle.loads(pickle.dumps(expression))) == pipeline
    assert dataset.p.scale(expression + 1) != pipeline


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        (1 - B.x * 2, "(1 - (B.x * 2))"),
        (-(B.x[0] ** 2), "-(B.x[0] ** 2)"),
        (B.x << 1, "(B.x << 1)"),
        (F(len)(B()), "F(len)(B)"),
        (R.normal(0, size=3), "R.normal(0, size=3)"),
        (V("a", mode="append"), "V('a', 'a')"),
        (C("a/b") + 1, "(C('a/b') + 1)"),
    ],
)
def test_they_are_shown_as_they_are_written(expression, text):
    assert repr(expression) == text


# ---- in chains


@pytest.mark.parametrize("prefetch", PREFETCH)
def test_arguments_are_resolved_for_each_batch(dataset, prefetch):
    chain = dataset.p.scale(B.y.sum(), [B.number], {"k": (I.epoch, "e")}, named=F(max)(B.y))
    for batch in chain.gen_batch(5, n_epochs=2, prefetch=prefetch):
        y = dataset.create_batch(batch.indices).y
        assert batch.seen == (
            y.sum(),
            ([batch.number], {"k": (batch.epoch, "e")}),
            {"named": y[-1]},
        )


@pytest.mark.parametrize("prefetch", PREFETCH)
def test_random_arguments_have_one_answer(dataset, prefetch):
    chain = dataset.p.scale(R.uniform(1, 2)).scale(R("choice", [2, 3], p=[0.5, 0.5]))

    def answer(**options):
        return digest(*(b.x for b in chain.gen_batch(2, seed=3, n_epochs=5, **options)))

    assert answer(prefetch=prefetch) == answer(executor="serial")


def test_named_tuples_and_long_lists_are_passed_as_they_are(dataset):
    class Pair(NamedTuple):
        a: object
        b: object

    long = list(range(10**6))
    batch = next(dataset.p.scale(1, Pair(B.number, 2), long).gen_batch(5))
    assert batch.seen[1][0] == Pair(0, 2)
    assert batch.seen[1][1] is long


def test_w_passes_an_expression_on(dataset):
    batch = next(dataset.p.scale(1, W(B.x)).gen_batch(5))
    assert repr(batch.seen[1][0]) == "B.x"


@pytest.mark.parametrize("prefetch", PREFETCH)
def test_the_iteration_counts_from_one(dataset, prefetch):
    chain = dataset.p.scale(1, I.current, I("c"), I.max, I.ratio)
    seen = [b.seen[1] for b in chain.gen_batch(3, prefetch=prefetch)]
    assert seen == [(i, i, 4, i / 4) for i in (1, 2, 3, 4)]


def test_the_ratio_of_an_endless_run_is_refused(dataset):
    with pytest.raises(ValueError, match="endless run"):
        next(dataset.p.scale(I.ratio).gen_batch(3, n_epochs=None))


def test_d_is_the_dataset(dataset):
    dataset.factor = 5
    assert next(dataset.p.scale(D.factor, D(), D("index")).gen_batch(5)).seen[1][0] is dataset


@pytest.mark.parametrize("prefetch", PREFETCH)
def test_an_expression_that_fails_says_which_in_which_action(dataset, prefetch):
    with pytest.raises(AttributeError, match=r"no 'labels'.*'scale', 'x', 'y'") as caught:
        dataset.p.scale(B.labels + 1).run(5, prefetch=prefetch)
    notes = "\n".join(caught.value.__notes__)
    assert "while (B.labels + 1) was resolved" in notes
    assert "in the action 'scale'" in notes


def test_the_functions_own_error_arrives(dataset):
    class TwoArguments(Exception):
        def __init__(self, one, two):
            super().__init__(one, two)

    def fail(value):
        raise TwoArguments(1, 2)

    with pytest.raises(TwoArguments) as caught:
        dataset.p.scale(F(fail)(B.x)).run(5)
    assert any("fail" in note for note in caught.value.__notes__)


def test_steps_without_expressions_keep_their_arguments_untouched(dataset):
    argument = [1, [2]]
    assert next(dataset.p.scale(1, argument).gen_batch(5)).seen[1][0] is argument
