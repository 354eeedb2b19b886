"""Expressions for items (`P`, `PP`), draws (`R`) and calls on results (`L`)."""

import copy
import pickle
from collections import Counter

import numpy as np
import pytest

from batchflow import (
    PP,
    ArgumentTypeError,
    ArgumentValueError,
    ArrayBatch,
    B,
    Dataset,
    F,
    L,
    P,
    R,
    V,
    W,
    action,
    inbatch_parallel,
)
from batchflow.testing import digest

from .conftest import PREFETCH, each_prefetch


class Rows(ArrayBatch):
    components = "x", "y"

    @action
    def take(self, *args, **kwargs):
        self.taken = args, kwargs
        return self

    @action
    async def take_later(self, *args):
        self.taken = args, {}
        return self

    @action
    @inbatch_parallel(init="indices", post="keep")
    def each(self, item, value, named=None):
        return item, value, named

    @action
    @inbatch_parallel(init="pairs", post="keep")
    def twice(self, place, value):
        return place, value

    def pairs(self, value):
        return ["first", "second"]

    def keep(self, results, *args, **kwargs):
        self.results = results
        return self


@pytest.fixture
def dataset():
    return Dataset.from_arrays(Rows, x=np.arange(6.0), y=10 * np.arange(6))


def values(pipeline, **options):
    """What the items of the first batch of three got."""
    return [value for _, value, _ in next(pipeline.gen_batch(3, seed=1, **options)).results]


def taken(pipeline):
    return next(pipeline.gen_batch(3, seed=1)).taken[0][0]


# ---- in per-item actions


def test_each_item_gets_its_element(dataset):
    assert values(dataset.p.each(P(B.y))) == [0, 10, 20]


def test_each_item_gets_its_element_of_a_keyword_argument(dataset):
    batch = next(dataset.p.each(1, named=P(["a", "b", "c"])).gen_batch(3))
    assert batch.results == [(0, 1, "a"), (1, 1, "b"), (2, 1, "c")]


def test_a_draw_is_made_for_each_item(dataset):
    assert len(set(values(dataset.p.each(P(R.normal(0, 1)))))) == 3


def test_a_draw_with_a_size_gives_an_array_to_each_item(dataset):
    assert [len(value) for value in values(dataset.p.each(P(R.normal(size=2))))] == [2, 2, 2]


def test_a_name_of_a_distribution_is_short_for_a_draw(dataset):
    short, long = P("normal", 0, scale=2), P(R.normal(0, scale=2))
    assert values(dataset.p.each(short)) == values(dataset.p.each(long))


def test_a_choice_of_a_list_is_made_for_each_item(dataset):
    chosen = values(dataset.p.each(P(R([10, 20], p=[0.5, 0.5]))), n_epochs=1)
    assert set(chosen) <= {10, 20}
    picks = {v for b in dataset.p.each(P(R([1, 2]))).gen_batch(6, seed=1) for _, v, _ in b.results}
    assert picks == {1, 2}


def test_arguments_of_a_draw_may_be_late(dataset):
    drawn = values(dataset.p.each(P(R.normal(1000 + B.number, 0))))
    assert drawn == [1000, 1000, 1000]


def test_another_expression_is_resolved_once(dataset):
    calls = []

    def numbers(n):
        calls.append(n)
        return range(n)

    assert values(dataset.p.each(P(F(numbers)(3)))) == [0, 1, 2]
    assert calls[0] == 3
    assert len(calls) == 1


def test_pp_resolves_for_each_item(dataset):
    calls = []

    def number(start):
        calls.append(start)
        return start + len(calls)

    assert values(dataset.p.each(PP(F(number)(B.number)))) == [1, 2, 3]


def test_pp_draws_for_each_item_in_any_expression(dataset):
    assert len(set(values(dataset.p.each(PP(1 + R.normal() * 2))))) == 3


def test_pp_takes_the_name_of_a_distribution(dataset):
    assert values(dataset.p.each(PP("uniform", 5, 5))) == [5, 5, 5]


def test_pp_of_a_plain_value_is_that_value_for_each_item(dataset):
    assert values(dataset.p.each(PP(7))) == [7, 7, 7]


def test_a_list_without_p_is_one_value(dataset):
    assert values(dataset.p.each([1, 2, 3])) == [[1, 2, 3]] * 3


def test_p_inside_of_a_list_stays_a_list(dataset):
    assert values(dataset.p.each([P(B.y)])) == [[[0, 10, 20]]] * 3


@pytest.mark.parametrize("target", ["threads", "for", "async", "processes"])
def test_it_works_for_every_target(dataset, target):
    chain = dataset.p.apply_parallel(_add, P(B.y), src="x", dst="x", target=target)
    assert next(chain.gen_batch(3)).x.tolist() == [0, 11, 22]


def _add(x, value):
    return x + value


def test_it_works_for_functions_of_items(dataset):
    chain = dataset.p.apply_parallel(_add, value=P(R.integers(5, 6)), src="x")
    assert next(chain.gen_batch(3)).x.tolist() == [5, 6, 7]


@pytest.mark.parametrize(
    "late", [P(R.normal()), PP(R.normal() + B.number), P("integers", 100), P(B.x), PP(F(len)(B()))]
)
def test_values_have_one_answer(dataset, late):
    def answer(**options):
        batches = dataset.p.each(late, named=P(R.random())).gen_batch(
            2, seed=4, n_epochs=3, shuffle=True, **options
        )
        return digest(*(batch.results for batch in batches))

    expected = answer(executor="serial")
    assert [answer(prefetch=prefetch) for prefetch in PREFETCH] == [expected] * 3


# ---- in other steps


@pytest.mark.parametrize("late", [P(B.y), PP(B.y[0] + B.number), P([1, 2, 3])])
def test_in_a_plain_action_it_is_the_list_of_the_values(dataset, late):
    value = taken(dataset.p.take(late))
    assert isinstance(value, list)
    assert len(value) == 3


def test_in_an_async_action_it_is_the_list_of_the_values(dataset):
    assert taken(dataset.p.take_later(P(B.y))) == [0, 10, 20]


def test_in_a_call_it_is_the_list_of_the_values(dataset):
    assert next(dataset.p.call(sum, P(B.y), save_to=B.z).gen_batch(3)).z == 30


def test_it_can_be_stored(dataset):
    chain = dataset.p.init_variable("v", init=list).update(V("v", "e"), P(B.y))
    assert chain.run(3).v("v") == [0, 10, 20, 30, 40, 50]


def test_an_item_of_it_can_be_taken(dataset):
    assert taken(dataset.p.take(P(B.y)[1])) == 10


def test_its_values_are_got_outside_of_a_pipeline(dataset):
    assert P(B.y).get(dataset.create_batch([2, 1])) == [20, 10]
    assert PP(B.y[0]).get(dataset.create_batch([2, 1])) == [20, 20]


# ---- what does not fit


@each_prefetch
@pytest.mark.parametrize("late", [P([1, 2]), P(B.y[:2]), P([1, 2, 3, 4]), P(F(range)(0))])
def test_another_number_of_values_is_refused(dataset, late, prefetch):
    with pytest.raises(ArgumentValueError, match="one value for each of 3 items") as caught:
        dataset.p.each(late).run(3, prefetch=prefetch)
    notes = "\n".join(caught.value.__notes__)
    assert f"while {late!r} was resolved" in notes
    assert "in the action 'each'" in notes


@pytest.mark.parametrize("late", [P(3), P(None), P(B.y.sum()), P(R.normal() * 2), P(B.number)])
def test_what_is_no_sequence_is_refused_with_advice(dataset, late):
    with pytest.raises(ArgumentValueError, match=r"write PP\(\.\.\.\) to resolve it for each item"):
        dataset.p.each(late).run(3)


@pytest.mark.parametrize("late", [P({"a": 1, "b": 2, "c": 3}), P({1, 2, 3}), P(F(set)("abc"))])
def test_what_has_no_order_of_items_is_refused(dataset, late):
    with pytest.raises((ArgumentTypeError, ArgumentValueError)):
        dataset.p.each(late).run(3)


def test_calls_for_something_else_than_the_items_are_refused(dataset):
    with pytest.raises(ArgumentValueError, match="there are 2 calls"):
        dataset.p.twice(P(B.y)).run(3)


def test_the_last_batch_has_values_for_its_own_number_of_items(dataset):
    sizes = [len(batch.results) for batch in dataset.p.each(P(R.normal())).gen_batch(4)]
    assert sizes == [4, 2]


def test_arguments_without_a_distribution_are_refused_at_once():
    with pytest.raises(ArgumentTypeError, match="takes one value"):
        P(B.y, 1)
    with pytest.raises(ArgumentTypeError, match=r"PP\(\) takes one value"):
        PP(B.y, low=1)


@pytest.mark.parametrize("late", [P("nromal"), R.nromal(), R("nromal", 0, 1)])
def test_an_unknown_distribution_is_an_error_that_names_it(dataset, late):
    with pytest.raises(AttributeError, match="nromal") as caught:
        dataset.p.take(late).run(3)
    assert any("was resolved" in note for note in caught.value.__notes__)


@pytest.mark.parametrize("arguments", [(), (3,), (None,)])
def test_r_needs_a_distribution(arguments):
    with pytest.raises(ArgumentTypeError, match="name of a distribution"):
        R(*arguments)


def test_it_is_no_place_to_store_a_value(dataset):
    with pytest.raises(ArgumentTypeError, match="no place to store"):
        dataset.p.take(1).update(P(B.y), 1).run(3)


# ---- R


def test_a_list_is_chosen_from(dataset):
    assert taken(dataset.p.take(R([1, 2, 3], p=[0, 0, 1]))) == 3
    assert taken(dataset.p.take(R((1, 2), size=50, p=[1, 0]))).tolist() == [1] * 50


def test_draws_come_from_the_generator_of_the_batch(dataset):
    first = next(dataset.p.gen_batch(3, seed=1))
    assert taken(dataset.p.take(R.normal(5, 2))) == first.rng.normal(5, 2)


def test_each_draw_is_another(dataset):
    batch = next(dataset.p.take(R.normal(), R.normal()).gen_batch(3))
    assert len(set(batch.taken[0])) == 2


# ---- L


def test_the_result_of_a_call_is_called_again(dataset):
    more = [10]
    counted = taken(dataset.p.take(L(Counter)(B.y.tolist() + more).most_common(1)))
    assert counted == [(10, 2)]


def test_both_spellings_are_the_same_call(dataset):
    assert taken(dataset.p.take(L(len, B.y))) == taken(dataset.p.take(L(len)(B.y))) == 3
    assert dataset.p.take(L(len, B.y)) == dataset.p.take(L(len)(B.y))


def test_keyword_arguments_are_resolved(dataset):
    assert taken(dataset.p.take(L(dict, n=B.number)["n"])) == 0


def test_a_call_without_arguments_and_no_call(dataset):
    assert taken(dataset.p.take(L(dict)())) == {}
    assert taken(dataset.p.take(L(dict))) is dict


def test_calls_are_made_for_each_batch(dataset):
    made = [batch.taken[0][0] for batch in dataset.p.take(L(list)()).gen_batch(3)]
    assert made[0] is not made[1]


def test_arithmetic_with_calls(dataset):
    assert taken(dataset.p.take(L(max, B.y) - L(len)(B.y) * 2)) == 14


def test_what_is_no_function_is_refused_at_once():
    with pytest.raises(ArgumentTypeError, match="takes a function"):
        L(3)


# ---- being values

EXPRESSIONS = {
    "P(R.normal(0, 1))": lambda: P(R.normal(0, 1)),
    "P(R.normal(0, scale=2))": lambda: P("normal", 0, scale=2),
    "P(B.x)": lambda: P(B.x),
    "P([1, 2, 3])": lambda: P([1, 2, 3]),
    "PP(F(len)(B.x))": lambda: PP(F(len)(B.x)),
    "PP((1 + R.normal()))": lambda: PP(1 + R.normal()),
    "L(len)(B.x)": lambda: L(len, B.x),
    "L(Counter)(B.y).most_common(2)": lambda: L(Counter)(B.y).most_common(2),
    "L(len)": lambda: L(len),
    "R.choice([1, 2], p=[0.5, 0.5])": lambda: R([1, 2], p=[0.5, 0.5]),
    "W(B.x)": lambda: W(B.x),
}
each_expression = pytest.mark.parametrize(("text", "make"), EXPRESSIONS.items())


@each_expression
def test_they_are_shown_as_they_are_written(text, make):
    assert repr(make()) == text


@each_expression
def test_equal_ones_make_equal_pipelines(dataset, text, make):
    assert dataset.p.take(make()) == dataset.p.take(make())


@each_expression
def test_different_ones_make_different_pipelines(dataset, text, make):
    others = [other() for shown, other in EXPRESSIONS.items() if shown != text]
    assert all(dataset.p.take(make()) != dataset.p.take(other) for other in others)


@each_expression
def test_pickles_are_equal(dataset, text, make):
    assert dataset.p.take(pickle.loads(pickle.dumps(make()))) == dataset.p.take(make())


@each_expression
def test_copies_are_the_same(text, make):
    expression = make()
    assert copy.deepcopy(expression) is copy.copy(expression) is expression


def test_p_and_pp_of_one_expression_differ(dataset):
    assert dataset.p.take(P(B.x)) != dataset.p.take(PP(B.x))


@each_expression
def test_equal_pipelines_have_equal_hashes(dataset, text, make):
    assert hash(dataset.p.take(make())) == hash(dataset.p.take(make()))


@each_expression
def test_they_have_no_truth_value(text, make):
    with pytest.raises(ArgumentTypeError, match="no truth value"):
        bool(make())


@each_expression
def test_they_are_frozen(text, make):
    with pytest.raises(AttributeError):
        make().something = 1
