"""The plan as data: comparing, binding, marking the ordered section, showing it."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchflow import (
    ArgumentTypeError,
    ArgumentValueError,
    Batch,
    Dataset,
    UnknownAttributeError,
    UnknownNameError,
    action,
    model,
)
from batchflow.plan import BoundPlan, BoundStep, Plan, Step, Variable, Where
from batchflow.plan.binding import bind_step
from batchflow.plan.names import Names
from batchflow.plan.values import same_value


class Steps(Batch):
    """`a` and `b` are static models, `d` is a dynamic one."""

    @model()
    def a():
        return "a"

    @model()
    def b():
        return "b"

    @model(mode="dynamic")
    def d(batch):
        return "d"

    @action
    def free(self):
        return self

    @action(singleton=True)
    def alone(self):
        return self

    @action(model="a")
    def use_a(self, a):
        return self

    @action(model="a", singleton=True)
    def train_a(self, a):
        return self

    @action(model="b")
    def use_b(self, b):
        return self

    @action(model="b", singleton=True)
    def train_b(self, b):
        return self

    @action(model="d")
    def use_d(self, d):
        return self

    @action(model="nowhere")
    def lost(self, nowhere):
        return self

    @action(model="given", singleton=True)
    def use_given(self, given):
        return self

    @action
    def scale(self, factor, offset=0):
        return self


def bound(names):
    return Plan(tuple(Step(name) for name in names.split())).bind(Steps)


# ---- the ordered section


@pytest.mark.parametrize(
    ("names", "ordered"),
    [
        ("", ""),
        ("free free", "--"),
        ("alone", "o"),
        ("free alone free", "-o-"),
        ("use_a free use_a", "---"),
        ("use_a free train_a free use_a free", "o-o-o-"),
        ("train_a use_b", "o-"),
        ("use_b train_a use_a train_b", "oooo"),
        ("free use_d free use_d", "-o-o"),
        ("use_d use_a", "o-"),
        ("alone use_a", "o-"),
    ],
)
def test_ordered_are_singletons_and_what_shares_a_model_with_one(names, ordered):
    marks = "".join("o" if is_ordered else "-" for is_ordered in bound(names).ordered)
    assert marks == ordered


@pytest.mark.parametrize(
    ("names", "section"),
    [
        ("", (0, 0)),
        ("free free", (2, 2)),
        ("alone", (0, 1)),
        ("free alone free", (1, 2)),
        ("free alone free free alone free", (1, 5)),
        ("use_a free train_a free", (0, 3)),
        ("free use_d", (1, 2)),
    ],
)
def test_the_section_goes_from_the_first_to_the_last_ordered_step(names, section):
    found = bound(names).section
    assert (found.start, found.stop) == section


@settings(derandomize=True, database=None, deadline=None)
@given(
    st.lists(
        st.sampled_from(["free", "alone", "use_a", "train_a", "use_b", "train_b", "use_d"]),
        max_size=8,
    )
)
def test_every_ordered_step_is_in_the_section_and_its_borders_are_ordered(names):
    plan = bound(" ".join(names))
    ordered, section = plan.ordered, plan.section
    inside = ordered[section]
    assert sum(inside) == sum(ordered)
    assert not inside or (inside[0] and inside[-1])


def test_the_models_of_a_plan_are_those_of_its_steps():
    assert bound("free use_a train_b use_d").models == {"a": False, "b": False, "d": True}


def test_the_borders_of_the_section_are_shown():
    lines = bound("free alone free train_a free").describe().splitlines()
    kinds = ["--" if "--" in line else line.split()[1] for line in lines]
    assert kinds == ["free()", "--", "alone()", "free()", "train_a()", "--", "free()"]


def test_without_ordered_steps_no_borders_are_shown():
    assert "--" not in bound("free free").describe()


# ---- binding


def test_an_unknown_step_is_refused_with_the_place_where_it_was_chained():
    step = Step("fre", where=Where("pipes.py", 7))
    with pytest.raises(UnknownAttributeError, match=r"pipes\.py:7.*Did you mean 'free'"):
        bind_step(step, Names(Steps))


def test_wrong_arguments_are_refused_with_the_place_where_they_were_chained():
    step = Step("scale", where=Where("pipes.py", 7))
    with pytest.raises(ArgumentTypeError, match=r"pipes\.py:7"):
        bind_step(step, Names(Steps))


def test_an_unknown_model_is_refused_with_the_place_where_it_was_chained():
    step = Step("lost", where=Where("pipes.py", 7))
    with pytest.raises(UnknownNameError, match=r"pipes\.py:7"):
        bind_step(step, Names(Steps))


def test_binding_leaves_the_plan_as_it_is():
    plan = Plan((Step("free"),))
    plan.bind(Steps)
    assert plan == Plan((Step("free"),))


# ---- values


@pytest.mark.parametrize(
    "fact", ["leaves", "regroupings", "nested", "written", "ordered", "section"]
)
def test_what_follows_from_a_plan_is_found_out_once(fact):
    plan = bound("free train_a free")
    assert getattr(plan, fact) is getattr(plan, fact)


@pytest.mark.parametrize("kind", [BoundPlan, BoundStep])
def test_a_bound_plan_cannot_be_changed(kind):
    plan = bound("free")
    with pytest.raises(AttributeError):
        (plan if kind is BoundPlan else plan.leaves[0]).steps = ()


def test_what_is_found_out_about_a_step_does_not_travel_with_it():
    leaf = bound("free").leaves[0]
    before = pickle.dumps(leaf)
    assert (leaf.reads, leaf.writes, leaf.has_expressions) == (frozenset(), frozenset(), False)
    assert pickle.dumps(leaf) == before


@pytest.mark.parametrize("given", [{}, Batch(1)], ids=["a dictionary", "an object"])
def test_a_run_writes_nothing_into_the_plan(given):
    pipeline = Dataset(2, Steps).p.init_model("given", given).use_given()
    declared = pipeline._plan.models[0]
    before = dict(vars(declared))
    pipeline.run(1)
    assert vars(declared) == before


def test_a_step_cannot_be_changed():
    with pytest.raises(AttributeError):
        Step("free").name = "alone"


def test_a_plan_cannot_be_changed():
    with pytest.raises(AttributeError):
        Plan().steps = ()


def test_where_a_step_was_chained_is_not_compared():
    assert Step("free", where=Where("a.py", 1)) == Step("free", where=Where("b.py", 2))


@pytest.mark.parametrize(
    "other",
    [Step("alone", (1,)), Step("free", (2,)), Step("free", (1,), {"k": 1}), Step("free"), "free"],
    ids=str,
)
def test_steps_that_differ_are_not_equal(other):
    assert Step("free", (1,)) != other


@pytest.mark.parametrize(
    "args", [(1, "x"), (np.arange(3),), ([1, {2: np.zeros(2)}],), (float("nan"),), (len,)], ids=repr
)
def test_equal_steps_have_equal_hashes(args):
    one, two = Step("free", args), Step("free", copy.copy(args))
    assert (one == two, hash(one) == hash(two)) == (True, True)


def test_a_plan_pickles_with_its_places():
    plan = Plan((Step("scale", (1,), {"offset": 2}, Where("a.py", 3)),), (Variable("n", 0),))
    again = pickle.loads(pickle.dumps(plan))
    assert (again == plan, str(again.steps[0].where)) == (True, "a.py:3")


class Hostile:
    """A value whose comparison raises, as that of tables does."""

    def __eq__(self, other):
        raise ValueError("ambiguous")

    __hash__ = None


ARRAY = np.array([1.5, np.nan])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1),
        ("x", "x"),
        (None, None),
        ((1, [2, {3: 4}]), (1, [2, {3: 4}])),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        (ARRAY, ARRAY.copy()),
        ([ARRAY], [ARRAY.copy()]),
        ({"k": (ARRAY,)}, {"k": (ARRAY.copy(),)}),
        (np.arange(4)[::2], np.array([0, 2])),
        (np.array([[1.5], [2]], dtype=object), np.array([[1.5], [2]], dtype=object)),
        (np.array([int("9" * 30)], dtype=object), np.array([int("9" * 30)], dtype=object)),
        (np.float64(1), np.float64(1)),
    ],
    ids=repr,
)
def test_equal_arguments_are_the_same_value(one, other):
    assert same_value(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 2),
        (1, True),
        (1, 1.0),
        (0, False),
        (0, None),
        ((1,), [1]),
        ((1,), (1, 2)),
        ({"a": 1}, {"a": 2}),
        ({"a": 1}, {"b": 1}),
        (ARRAY, ARRAY.tolist()),
        (np.array([1]), np.array([1.0])),
        (np.array([1, 2]), np.array([[1, 2]])),
        (np.array([1, 2]), np.array([1, 3])),
        (np.array([1]), 1),
        (Hostile(), Hostile()),
        (len, max),
    ],
    ids=lambda value: repr(value).partition(" at 0x")[0],
)
def test_other_arguments_are_not_the_same_value(one, other):
    assert not same_value(one, other)


def test_a_value_is_the_same_as_itself_even_if_it_cannot_be_compared():
    value = Hostile()
    assert same_value([value], [value])


# ---- showing


@pytest.mark.parametrize(
    ("args", "kwargs", "shown"),
    [
        ((), {}, "free()"),
        ((1, "x"), {"k": None}, "free(1, 'x', k=None)"),
        ((np.zeros((2, 3), "f4"),), {}, "free(<array (2, 3) float32>)"),
        ((len,), {}, "free(len)"),
        ((Steps,), {}, "free(Steps)"),
    ],
)
def test_a_step_shows_its_arguments(args, kwargs, shown):
    assert str(Step("free", args, kwargs)) == shown


def test_a_long_argument_is_cut():
    assert len(str(Step("free", ("x" * 1000,)))) < 80


class TwoLines:
    def __repr__(self):
        return "one\ntwo"


@pytest.mark.parametrize(
    "value", [TwoLines(), [np.zeros((2, 2))], {"k": np.eye(2)}], ids=["own", "list", "dict"]
)
def test_a_step_is_shown_on_one_line(value):
    assert "\n" not in str(Step("free", (value,)))


# ---- variables


def test_a_new_declaration_takes_the_place_of_the_old():
    plan = Plan().with_variable(Variable("n", 1)).with_variable(Variable("n", 2))
    assert plan.variables == (Variable("n", 2),)


def test_plans_that_declare_a_variable_alike_are_joined():
    one, two = (Plan((), (Variable("n", [1]),)) for _ in range(2))
    assert (one + two).variables == (Variable("n", [1]),)


def test_plans_that_declare_a_variable_differently_are_refused():
    one, two = (Plan((), (Variable("n", value),)) for value in (1, 2))
    with pytest.raises(ArgumentValueError, match="'n'"):
        _ = one + two


def test_plans_are_joined_in_order():
    joined = Plan((Step("free"),)) + Plan((Step("alone"), Step("free")))
    assert [step.name for step in joined.steps] == ["free", "alone", "free"]


def test_a_default_is_copied_for_each_owner():
    default = [[1]]
    variable = Variable("n", default)
    variable.initial_value()[0].append(2)
    assert variable.initial_value() == [[1]]


@pytest.mark.parametrize("name", ["", 5, None, ("n",)], ids=repr)
def test_the_name_of_a_variable_is_a_string(name):
    with pytest.raises(ArgumentTypeError, match="name is a string"):
        Variable(name)


def test_an_init_that_is_a_value_is_refused_with_what_to_write():
    with pytest.raises(ArgumentTypeError, match=r"default=\[\]"):
        Variable("n", init=[])


def test_a_default_and_an_init_are_refused():
    with pytest.raises(ArgumentTypeError, match="not both"):
        Variable("n", 1, init=list)
