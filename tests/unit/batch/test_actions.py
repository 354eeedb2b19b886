"""Actions: how they are marked, collected, inherited, named and checked."""

import functools

import pytest

from batchflow import (
    ArgumentTypeError,
    ArgumentValueError,
    Batch,
    Dataset,
    Pipeline,
    UnknownAttributeError,
    action,
)
from batchflow.batch.actions import RESERVED
from batchflow.legacy import OF_PIPELINES

# The reserved names by hand: the list in the code must not lose one.
DESIGNED = [
    "run",
    "run_now",
    "run_later",
    "gen_batch",
    "next_batch",
    "execute_for",
    "reset",
    "v",
    "m",
    "get_variable",
    "set_variable",
    "init_variable",
    "init_variables",
    "delete_variable",
    "has_variable",
    "init_model",
    "dataset",
    "config",
    "models",
    "seed",
    "before",
    "after",
    "main",
    "feed",
    "check",
    "debug",
    "replay",
    "pipeline",
    "index",
    "indices",
    "rng",
]


class Base(Batch):
    @action
    def mark(self):
        self.who = "base"
        return self

    @action(singleton=True)
    def ordered(self):
        return self


def who(batch_class):
    return next(Dataset(1, batch_class).p.mark().gen_batch(1)).who


# ---- marking


def test_an_action_stays_a_plain_method():
    assert Base(1).mark().who == "base"


def test_an_action_keeps_its_name_and_docstring():
    @action(singleton=True)
    def train(self):
        """Train."""

    assert (train.__name__, train.__doc__) == ("train", "Train.")


def test_empty_parentheses_are_fine():
    class Mine(Batch):
        @action()
        def touch(self):
            return self

    assert len(Dataset(1, Mine).p.touch()._plan.steps) == 1


@pytest.mark.parametrize("wrong", [5, "name", None.__class__, len, staticmethod(len)], ids=repr)
def test_only_functions_are_marked(wrong):
    with pytest.raises(ArgumentTypeError, match="marks a method"):
        action(wrong)


@pytest.mark.parametrize("name", [5, len, ["m"]], ids=repr)
def test_the_model_of_an_action_is_a_name(name):
    with pytest.raises(ArgumentTypeError, match="name of a model definition"):
        action(model=name)


def test_a_mark_survives_a_decorator_that_wraps():
    def loud(function):
        @functools.wraps(function)
        def wrapper(self):
            batch = function(self)
            batch.who += "!"
            return batch

        return wrapper

    class Loud(Batch):
        @loud
        @action
        def mark(self):
            self.who = "loud"
            return self

    assert who(Loud) == "loud!"


# ---- inheriting


def test_actions_are_inherited():
    assert who(type("Child", (Base,), {})) == "base"


def test_a_marked_override_wins():
    class Child(Base):
        @action
        def mark(self):
            self.who = "child"
            return self

    assert who(Child) == "child"


def test_an_override_without_a_mark_stays_an_action():
    class Child(Base):
        def mark(self):
            self.who = "child"
            return self

    assert who(Child) == "child"


def test_an_override_without_a_mark_keeps_the_parents_mark():
    class Child(Base):
        def ordered(self):
            return self

    assert "ordered section" in repr(Dataset(1, Child).p.ordered())


def test_an_override_leaves_the_parent_as_it_is():
    class Child(Base):
        @action
        def mark(self):
            self.who = "child"
            return self

    assert (who(Base), who(Child)) == ("base", "child")


def test_an_override_by_something_else_takes_the_action_away():
    child = type("Child", (Base,), {"mark": None})
    with pytest.raises(UnknownAttributeError, match="no action 'mark'"):
        Dataset(1, child).p.mark()


def test_super_works_in_an_override():
    class Child(Base):
        @action
        def mark(self):
            super().mark()
            self.who += " and child"
            return self

    assert who(Child) == "base and child"


def test_of_two_parents_the_first_wins():
    class Other(Batch):
        @action
        def mark(self):
            self.who = "other"
            return self

    assert (
        who(type("One", (Base, Other), {})),
        who(type("Two", (Other, Base), {})),
    ) == ("base", "other")


def test_in_a_diamond_the_action_is_the_method_that_python_finds():
    class Left(Base):
        pass

    class Right(Base):
        @action
        def mark(self):
            self.who = "right"
            return self

    class Bottom(Left, Right):
        pass

    assert who(Bottom) == Bottom(1).mark().who == "right"


def test_actions_of_a_mixin_that_is_no_batch_are_collected():
    class Mixin:
        @action
        def mark(self):
            self.who = "mixin"
            return self

    class Mixed(Mixin, Batch):
        pass

    assert who(Mixed) == "mixin"


# ---- names


def test_the_reserved_names_are_those_that_steer_a_run():
    assert sorted(RESERVED) == sorted(DESIGNED)


@pytest.mark.parametrize("name", DESIGNED)
def test_an_action_with_a_reserved_name_is_refused_when_the_class_is_defined(name):
    with pytest.raises(ArgumentValueError, match=rf"Bad\.{name}.*call it {name}_batch"):
        type("Bad", (Batch,), {name: action(lambda self: self)})


@pytest.mark.parametrize("name", ["data", "number", "epoch", "get_model_by_name", "images"])
def test_an_action_cannot_hide_an_attribute_of_the_batch(name):
    with pytest.raises(ArgumentValueError, match=f"{name!r}"):
        type("Bad", (Batch,), {"components": "images", name: action(lambda self: self)})


@pytest.mark.parametrize("name", ["train_model", "load", "print", "merge", "join", "dump", "len"])
def test_an_action_may_have_any_other_name(name):
    mine = type("Mine", (Batch,), {name: action(lambda self: self)})
    assert len(getattr(Dataset(1, mine).p, name)()._plan.steps) == 1


@pytest.mark.parametrize(
    "name",
    sorted({n for n in {*dir(Pipeline), *OF_PIPELINES} if n[0] != "_" and n not in RESERVED}),
)
def test_an_action_takes_the_place_of_a_word_of_the_chain_that_is_not_reserved(name):
    mine = type("Mine", (Batch,), {name: action(lambda self, *args: self)})
    chained = getattr(Dataset(1, mine).p, name)(7, 8)
    assert "(7, 8)" in repr(chained)
    assert __file__ in repr(chained)


# ---- calls


class Calls(Batch):
    @action
    def scale(self, factor, *, offset=0):
        return self

    @action
    def anything(self, *args, **kwargs):
        self.got = args, kwargs
        return self

    def plain(self):
        return self


pipeline = Dataset(1, Calls).p


@pytest.mark.parametrize(
    ("args", "kwargs", "complaint"),
    [
        ((), {}, r"missing.*'factor'"),
        ((1, 2), {}, "too many positional"),
        ((1,), {"offest": 2}, "Did you mean 'offset'"),
        ((1,), {"factor": 2}, "multiple values.*'factor'"),
    ],
)
def test_wrong_arguments_are_refused_when_chained(args, kwargs, complaint):
    with pytest.raises(ArgumentTypeError, match=complaint):
        pipeline.scale(*args, **kwargs)


def test_the_refusal_shows_the_declaration():
    with pytest.raises(ArgumentTypeError, match=r"scale\(self, factor, \*, offset=0\)"):
        pipeline.scale()


def test_arguments_arrive_as_they_were_chained():
    batch = next(pipeline.anything(1, [2], a=3, self_=4).gen_batch(1))
    assert batch.got == ((1, [2]), {"a": 3, "self_": 4})


def test_an_unknown_action_is_an_attribute_error_with_the_right_name():
    with pytest.raises(AttributeError, match=r"Calls has no action 'scael'.*Did you mean 'scale'"):
        _ = pipeline.scael


def test_an_unknown_action_far_from_any_other_shows_what_there_is():
    with pytest.raises(UnknownAttributeError, match="Known: 'anything', 'scale'"):
        pipeline.zzzzzz()


def test_a_method_without_a_mark_is_told_apart():
    with pytest.raises(UnknownAttributeError, match=r"'plain' is there; mark it with @action"):
        pipeline.plain()


def test_a_class_without_actions_says_how_to_make_one():
    with pytest.raises(UnknownAttributeError, match="mark its methods with @action"):
        Dataset(1).p.scale()


def test_hasattr_tells_whether_there_is_an_action():
    assert [hasattr(pipeline, name) for name in ("scale", "plain", "nothing")] == [
        True,
        False,
        False,
    ]
