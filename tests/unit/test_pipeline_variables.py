"""Pipeline variables: declaring, reading, writing, resetting, owning."""

import collections

import pytest

from batchflow import (
    ArgumentTypeError,
    ArgumentValueError,
    Batch,
    Dataset,
    Pipeline,
    UnknownNameError,
    action,
)


class Steps(Batch):
    @action(singleton=True)
    def note(self, name="n"):
        self.pipeline.v(name).append(self.number)
        return self

    @action(singleton=True)
    def count(self):
        self.pipeline.set_variable("n", self.pipeline.get_variable("n") + 1)
        return self

    @action
    def peek(self):
        self.peeked = self.pipeline.v("n")
        return self

    @action
    def look(self):
        self.looked = len(self.pipeline.v("n"))
        return self

    @action
    def poke(self):
        self.pipeline.set_variable("n", 5)
        return self

    @action
    def ask(self, name):
        self.asked = getattr(self.pipeline, name)
        return self


DATASET = Dataset(4, Steps)


# ---- declaring


@pytest.mark.parametrize(
    ("how", "value"),
    [
        ({}, None),
        ({"default": 5}, 5),
        ({"default": [1]}, [1]),
        ({"init": list}, []),
        ({"init": lambda: {"k": 1}}, {"k": 1}),
        ({"init_on_each_run": list}, []),
        ({"default": 5, "init_on_each_run": True}, 5),
        ({"init": dict, "init_on_each_run": True}, {}),
    ],
)
def test_before_the_first_run_a_variable_has_its_initial_value(how, value):
    assert DATASET.p.init_variable("n", **how).v("n") == value


def test_a_default_may_be_positional():
    assert DATASET.p.init_variable("n", 5).v("n") == 5


def test_get_variable_is_v():
    pipeline = DATASET.p.init_variable("n", [])
    assert pipeline.get_variable("n") is pipeline.v("n")


def test_has_variable_tells_what_is_declared():
    pipeline = DATASET.p.init_variable("n")
    assert (pipeline.has_variable("n"), pipeline.has_variable("m")) == (True, False)


def test_a_later_declaration_wins():
    assert DATASET.p.init_variable("n", 1).init_variable("n", 2).v("n") == 2


def test_variables_can_be_declared_on_a_piece():
    assert Pipeline().init_variable("n", 3).v("n") == 3


@pytest.mark.parametrize(
    ("args", "kwargs", "complaint"),
    [
        ((5,), {}, "name is a string, got 5"),
        (("",), {}, "name is a string"),
        (("n",), {"init": []}, r"write default=\[\]"),
        (("n", 1), {"init": list}, "not both"),
        (("n", 1), {"init_on_each_run": list}, "not both"),
        (("n", list), {}, "write init=list"),
    ],
)
def test_a_wrong_declaration_is_refused_when_chained(args, kwargs, complaint):
    with pytest.raises(ArgumentTypeError, match=complaint):
        DATASET.p.init_variable(*args, **kwargs)


def test_two_functions_for_one_variable_are_refused():
    with pytest.raises(ArgumentTypeError):
        DATASET.p.init_variable("n", init=list, init_on_each_run=dict)


@pytest.mark.parametrize(
    "touch",
    [
        lambda p: p.v("los"),
        lambda p: p.get_variable("los"),
        lambda p: p.set_variable("los", 1),
    ],
    ids=["v", "get", "set"],
)
def test_an_undeclared_variable_is_a_key_error_with_the_right_name(touch):
    with pytest.raises(UnknownNameError, match=r"Did you mean 'loss'.*init_variable\('los'"):
        touch(DATASET.p.init_variable("loss", 0))


def test_an_undeclared_variable_in_an_action_says_where():
    with pytest.raises(UnknownNameError, match="'m'") as caught:
        DATASET.p.init_variable("n", 0).note("m").run(2)
    assert any("'note'" in note for note in caught.value.__notes__)


# ---- values


def test_set_variable_gives_another_value():
    pipeline = DATASET.p.init_variable("n", 1)
    pipeline.set_variable("n", 7)
    assert pipeline.v("n") == 7


def test_ordered_steps_write_variables():
    assert DATASET.p.init_variable("n", 0).count().run(1, prefetch=2).v("n") == 4


def test_a_value_set_before_the_first_run_is_kept():
    pipeline = DATASET.p.init_variable("n", 0).count()
    pipeline.set_variable("n", 10)
    assert pipeline.run(1).v("n") == 14


def test_a_variable_goes_on_in_the_next_run():
    pipeline = DATASET.p.init_variable("n", 0).count()
    assert pipeline.run(1).run(1).v("n") == 8


@pytest.mark.parametrize(
    "how", [{"default": 0, "init_on_each_run": True}, {"init_on_each_run": int}], ids=repr
)
def test_a_variable_may_start_anew_with_each_run(how):
    pipeline = DATASET.p.init_variable("n", **how).count()
    assert pipeline.run(1).run(1).v("n") == 4


def test_a_default_that_is_started_anew_is_a_fresh_copy():
    pipeline = DATASET.p.init_variable("n", [], init_on_each_run=True).note()
    assert pipeline.run(2).run(2).v("n") == [0, 1]


def test_a_variable_starts_anew_at_the_first_batch_and_not_at_the_call():
    pipeline = DATASET.p.init_variable("n", init_on_each_run=list).note().run(2)
    run = pipeline.gen_batch(2)
    before = list(pipeline.v("n"))
    next(run)
    assert (before, pipeline.v("n")) == ([0, 1], [0])


def test_an_init_is_called_once_for_each_value():
    calls = []
    pipeline = DATASET.p.init_variable("n", init=lambda: calls.append(0) or []).note()
    pipeline.run(2)
    pipeline.run(2)
    assert len(calls) == 1


def test_an_init_is_not_called_when_declared():
    calls = []
    DATASET.p.init_variable("n", init=lambda: calls.append(0))
    assert calls == []


@pytest.mark.parametrize("word", ["variables", "vars", "all"])
def test_reset_brings_the_initial_value_back(word):
    pipeline = DATASET.p.init_variable("n", init=list).note().run(2)
    assert pipeline.reset(word).v("n") == []


def test_reset_iter_keeps_the_values():
    pipeline = DATASET.p.init_variable("n", init=list).note().run(2)
    assert pipeline.reset("iter").v("n") == [0, 1]


def test_an_init_that_raises_passes_its_exception_and_is_tried_again():
    calls = []

    def init():
        calls.append(0)
        if len(calls) == 1:
            raise OSError("once")
        return "there"

    pipeline = DATASET.p.init_variable("n", init=init)
    with pytest.raises(OSError, match="once"):
        pipeline.run(2)
    assert pipeline.run(2).v("n") == "there"


# ---- owning


def test_a_chained_value_has_its_own_values():
    pipeline = DATASET.p.init_variable("n", 0).count().run(1)
    assert (pipeline.v("n"), pipeline.count().v("n")) == (4, 0)


def test_a_default_is_not_shared_by_two_values():
    begin = DATASET.p.init_variable("n", [])
    one, two = begin.note(), begin.note()
    one.run(2)
    assert (one.v("n"), two.v("n"), begin.v("n")) == ([0, 1], [], [])


def test_the_object_given_as_default_is_never_written():
    default = []
    DATASET.p.init_variable("n", default).note().run(2)
    assert default == []


def test_the_same_chain_over_two_datasets_has_separate_values():
    piece = Pipeline().init_variable("n", 0).count()
    one, two = DATASET >> piece, Dataset(2, Steps) >> piece
    assert (one.run(1).v("n"), two.run(1).v("n"), piece.v("n")) == (4, 2, 0)


# ---- what parallel actions see


@pytest.mark.parametrize("prefetch", [0, 3])
def test_a_parallel_action_sees_the_value_with_which_the_run_started(prefetch):
    pipeline = DATASET.p.init_variable("n", 0).peek().count()
    assert [b.peeked for b in pipeline.gen_batch(1, prefetch=prefetch)] == [0] * 4


def test_a_parallel_action_sees_the_same_however_the_value_is_changed_in_order():
    """A list that ordered steps fill must not show how far ahead the parallel steps are."""
    pipeline = DATASET.p.init_variable("n", init=list).look().note()
    assert [b.looked for b in pipeline.gen_batch(1, prefetch=0)] == [0] * 4


@pytest.mark.parametrize(
    "init",
    [lambda: {"n": []}, lambda: [[]], lambda: collections.deque([[]]), collections.Counter],
    ids=["dict of lists", "list of lists", "deque", "counter"],
)
def test_a_parallel_action_sees_nothing_of_what_ordered_steps_do_inside_a_variable(init):
    class Deep(Batch):
        @action
        def look(self):
            self.looked = repr(_innermost(self.pipeline.v("n")))
            return self

        @action(singleton=True)
        def write(self):
            value = self.pipeline.v("n")
            if isinstance(value, collections.Counter):
                value["seen"] += 1
            else:
                _innermost(value).append(self.number)
            return self

    pipeline = Dataset(4, Deep).p.init_variable("n", init=init).look().write()
    assert len({b.looked for b in pipeline.gen_batch(1)}) == 1


def _innermost(value):
    if isinstance(value, collections.Counter) or not len(value):
        return value
    return value["n"] if "n" in value else value[0]


@pytest.mark.parametrize("prefetch", [0, 3])
def test_a_parallel_action_cannot_write(prefetch):
    with pytest.raises(ArgumentValueError, match=r"'n'.*@action\(singleton=True\)"):
        DATASET.p.init_variable("n", 0).poke().run(1, prefetch=prefetch)


@pytest.mark.parametrize("name", ["run", "init_variable", "reset", "nonsense"])
def test_a_parallel_action_cannot_steer_the_pipeline(name):
    with pytest.raises(AttributeError, match=rf"only reads.*{name!r}.*singleton=True"):
        DATASET.p.ask(name).run(1)


@pytest.mark.parametrize(("name", "value"), [("dataset", DATASET), ("seed", 3)])
def test_a_parallel_action_can_read_what_does_not_change(name, value):
    assert next(DATASET.p.ask(name).gen_batch(1, seed=3)).asked == value


def test_a_parallel_action_that_asks_for_an_undeclared_variable_is_refused():
    with pytest.raises(UnknownNameError, match="'n'"):
        DATASET.p.peek().run(1)
