"""Faults of an older batchflow, C: pipelines as values, what is checked when, what a step gives."""

import copy
import inspect
import sys

import numpy as np
import pytest

from batchflow import ArrayBatch, Batch, Dataset, Pipeline, action, model

from .conftest import MyBatch, each_prefetch, ids


class Tagged(MyBatch):
    """Its items collect the tags of the actions that they went through."""

    def __init__(self, index, *args, **kwargs):
        super().__init__(index, *args, **kwargs)
        self.tags = []

    @action
    def tag(self, name):
        self.tags.append(name)
        return self

    @action
    def post(self, batches):
        self.tags.append(len(batches))
        return self

    @action(singleton=True)
    def count(self):
        self.pipeline.set_variable("n", self.pipeline.v("n") + 1)
        return self


def tags(pipeline, **options):
    return [batch.tags for batch in pipeline.gen_batch(2, **options)]


# ---- C2, C11, C12, C13: a pipeline is a value

DATASET = Dataset(4, Tagged)
OPERATIONS = {
    "an action": lambda p: p.tag("more"),
    "+ another": lambda p: p + Pipeline().tag("more"),
    "another +": lambda p: Pipeline().tag("more") + p,
    "+ itself": lambda p: p + p,
    "over another dataset": lambda p: Dataset(8, Tagged) >> p,
    "init_variable": lambda p: p.init_variable("m", 1),
    "run_later": lambda p: p.run_later(2, shuffle=True, n_epochs=3),
    "run(lazy=True)": lambda p: p.run(2, lazy=True),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "a run": lambda p: p.run(2, n_epochs=2),
    "next_batch": lambda p: p.next_batch(3, shuffle=True),
}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_c2_an_operation_leaves_its_operand_as_it_was(operation):
    p = DATASET.p.init_variable("n", 0).tag("a").tag("b")
    before = repr(p)
    OPERATIONS[operation](p)
    assert repr(p) == before
    assert p == DATASET.p.init_variable("n", 0).tag("a").tag("b")


@pytest.mark.parametrize("operation", OPERATIONS)
def test_c2_an_operand_runs_as_before(operation):
    p = DATASET.p.tag("a").tag("b")
    OPERATIONS[operation](p)
    assert tags(p) == [["a", "b"], ["a", "b"]]


def test_c4_a_sum_keeps_the_dataset_and_the_variables():
    p = (DATASET.p.init_variable("n", 0).ok().count()) + Pipeline().ok()
    assert p.run(2).v("n") == 2


def test_c4_a_sum_keeps_the_variables_of_its_second_part():
    p = DATASET.p.ok() + Pipeline().init_variable("n", 0).count()
    assert p.run(2).v("n") == 2


def test_c4_a_sum_with_itself_keeps_dataset_and_variables_and_runs_twice_the_steps():
    p = DATASET.p.init_variable("n", 0).ok().count()
    assert (p + p).run(2).v("n") == 4


def test_c4_putting_a_pipeline_over_a_dataset_keeps_its_variables():
    p = DATASET >> Pipeline().init_variable("n", 0).count()
    assert p.run(2).v("n") == 2


def test_c4_a_sum_keeps_the_models():
    class Modelled(MyBatch):
        @model(mode="dynamic")
        def net(batch):
            return []

        @action(model="net", singleton=True)
        def train(self, net):
            net.append(self.number)
            return self

    p = Dataset(4, Modelled).p.train() + Pipeline().train()
    assert p.run(2).models["net"] == [0, 0, 1, 1]


def test_c4_a_sum_keeps_the_options_of_run_later():
    p = DATASET.p.ok().run_later(3) + Pipeline().ok()
    assert [len(batch) for batch in p.gen_batch()] == [3, 1]


@each_prefetch
def test_c5_a_pipeline_without_steps_gives_the_batches_as_they_are(prefetch):
    run = (DATASET >> Pipeline()).gen_batch(2, prefetch=prefetch)
    assert ids(run) == [0, 1, 2, 3]


def test_c5_two_pipelines_without_steps_chained_are_one_without_steps():
    assert Pipeline() + Pipeline() == Pipeline()


def test_c5_a_pipeline_without_a_dataset_says_so_when_it_is_run():
    with pytest.raises(TypeError, match=r"no dataset.*dataset >> pipeline"):
        (Pipeline() + Pipeline()).run(2)


@each_prefetch
def test_c7_a_step_gets_the_same_arguments_for_every_batch(prefetch):
    p = Dataset(6, Tagged).p.post(["one batch"])
    assert tags(p, prefetch=prefetch) == [[1], [1], [1]]


@each_prefetch
def test_c7_a_step_gets_the_same_arguments_in_every_run(prefetch):
    p = Dataset(6, Tagged).p.post(["one batch"])
    runs = [tags(p, prefetch=prefetch) for _ in range(3)]
    assert runs == [[[1], [1], [1]]] * 3


def test_c11_a_piece_that_is_added_twice_stays_as_it_was():
    first, piece = Pipeline().tag("a"), Pipeline().tag("r").ok()
    for _ in range(2):
        assert tags(DATASET >> (first + piece)) == [["a", "r"], ["a", "r"]]
    assert len(piece._plan.steps) == 2
    assert piece == Pipeline().tag("r").ok()


def test_c11_a_bound_piece_that_is_added_twice_stays_as_it_was():
    first, piece = DATASET.p.tag("a"), DATASET.p.tag("r").ok()
    assert first + piece == first + piece
    assert len(piece._plan.steps) == 2


def test_c12_what_is_chained_to_a_child_does_not_reach_its_parent():
    base = DATASET.p.tag("a")
    child = base.ok()
    child.tag("b")
    assert tags(child) == tags(base) == [["a"], ["a"]]


def test_c12_a_variable_declared_on_a_child_is_unknown_to_its_parent():
    base = DATASET.p.init_variable("n", 0)
    child = base.ok().init_variable("m", 1)
    assert child.has_variable("m")
    assert not base.has_variable("m")


def test_c12_a_child_and_its_parent_have_values_of_their_own():
    base = DATASET.p.init_variable("n", 0).count()
    child = base.ok()
    base.run(2)
    assert (base.v("n"), child.v("n")) == (2, 0)


def test_c12_a_mutable_initial_value_is_not_shared_by_a_child_and_its_parent():
    base = DATASET.p.init_variable("log", default=[])
    child = base.ok()
    child.v("log").append("child")
    assert base.v("log") == []


def test_c12_children_of_one_parent_do_not_see_each_other():
    base = DATASET.p.tag("a")
    one, other = base.tag("b"), base.tag("c")
    assert tags(one) == [["a", "b"], ["a", "b"]]
    assert tags(other) == [["a", "c"], ["a", "c"]]


DECLARATIONS = {
    "init_variable": lambda p: p.init_variable("n", 1),
    "run_later": lambda p: p.run_later(2),
    "run(lazy=True)": lambda p: p.run(2, lazy=True),
}


@pytest.mark.parametrize("declaration", DECLARATIONS)
def test_c13_a_declaration_gives_a_new_pipeline_as_an_action_does(declaration):
    base = DATASET.p.ok()
    assert DECLARATIONS[declaration](base) is not base


def test_c13_init_variable_leaves_the_pipeline_without_the_variable():
    base = DATASET.p.ok()
    base.init_variable("n", 1)
    with pytest.raises(KeyError, match="no variable 'n' is declared"):
        base.v("n")


def test_c13_declaring_a_variable_again_leaves_the_first_declaration_as_it_was():
    base = DATASET.p.init_variable("n", 1)
    again = base.init_variable("n", 2)
    assert (base.v("n"), again.v("n")) == (1, 2)


def test_c13_run_later_leaves_the_pipeline_without_options():
    base = DATASET.p.ok()
    base.run_later(2)
    with pytest.raises(TypeError, match="batch_size is missing"):
        base.run()


# ---- C17: what is checked when it is chained


def test_c17_an_action_of_another_class_is_refused_when_it_is_chained():
    with pytest.raises(AttributeError, match="MyBatch has no action 'post'"):
        Dataset(4, MyBatch).p.post([])


def test_c17_an_unknown_action_is_refused_with_a_suggestion():
    with pytest.raises(AttributeError, match="Did you mean 'boom'"):
        Dataset(4, MyBatch).p.bom(at=3)


def test_c17_the_refusal_says_where_the_action_was_chained():
    line = inspect.currentframe().f_lineno + 1
    piece = Pipeline().ok().post([]).ok()
    with pytest.raises(AttributeError, match=rf"{__file__}:{line}"):
        Dataset(4, MyBatch) >> piece


BINDINGS = {
    "dataset >> p": lambda dataset, p: dataset >> p,
    "p << dataset": lambda dataset, p: p << dataset,
    "dataset.p + p": lambda dataset, p: dataset.p + p,
    "p + dataset.p": lambda dataset, p: p + dataset.p,
}


@pytest.mark.parametrize("binding", BINDINGS)
def test_c17_an_unbound_piece_is_checked_when_it_meets_its_dataset(binding):
    piece = Pipeline().only_in_other_class()
    with pytest.raises(AttributeError, match="no action 'only_in_other_class'"):
        BINDINGS[binding](Dataset(4, MyBatch), piece)


@pytest.mark.parametrize("binding", BINDINGS)
def test_c17_the_arguments_of_an_unbound_piece_are_checked_when_it_meets_its_dataset(binding):
    piece = Pipeline().boom(att=3)
    with pytest.raises(TypeError, match=r"boom.*Did you mean 'at'"):
        BINDINGS[binding](Dataset(4, MyBatch), piece)


@pytest.mark.parametrize(
    "call", [lambda p: p.boom(), lambda p: p.boom(1, 2, 3), lambda p: p.boom(att=3)]
)
def test_c17_arguments_that_do_not_fit_are_refused_when_they_are_chained(call):
    with pytest.raises(TypeError, match=r"boom\(self, at, error=None\)"):
        call(Dataset(4, MyBatch).p)


def test_c17_a_function_of_the_main_module_is_no_step(monkeypatch):
    monkeypatch.setattr(sys.modules["__main__"], "sneaky", lambda batch: batch, raising=False)
    with pytest.raises(AttributeError, match="no action 'sneaky'"):
        Dataset(4, MyBatch).p.sneaky()


def test_c17_a_function_of_the_main_module_is_no_step_of_an_unbound_piece(monkeypatch):
    monkeypatch.setattr(sys.modules["__main__"], "sneaky", lambda batch: batch, raising=False)
    piece = Pipeline().sneaky()
    with pytest.raises(AttributeError, match="no action 'sneaky'"):
        Dataset(4, MyBatch) >> piece


def test_c17_a_method_without_the_mark_is_no_step_and_the_error_says_so():
    class Unmarked(MyBatch):
        def helper(self):
            return self

    with pytest.raises(AttributeError, match="mark it with @action"):
        Dataset(4, Unmarked).p.helper()


# ---- C18: an action that returns no batch


def make_forgetful(result, singleton=False):
    class Forgetful(MyBatch):
        @action(singleton=singleton)
        def work(self):
            return result

    return Dataset(4, Forgetful).p


@each_prefetch
@pytest.mark.parametrize("singleton", [False, True])
def test_c18_an_action_that_forgets_return_self_is_named_before_the_next_step(prefetch, singleton):
    p = make_forgetful(None, singleton).work().ok()
    with pytest.raises(TypeError, match=r"'work' must return a batch.*nothing.*return self"):
        p.run(2, prefetch=prefetch)


@each_prefetch
@pytest.mark.parametrize("singleton", [False, True])
def test_c18_an_action_that_forgets_return_self_is_named_as_the_last_step_too(prefetch, singleton):
    run = make_forgetful(None, singleton).work().gen_batch(2, prefetch=prefetch)
    with pytest.raises(TypeError, match=r"'work' must return a batch"):
        next(run)


@pytest.mark.parametrize("result", [0, "batch", np.arange(4), MyBatch])
def test_c18_an_action_that_returns_something_else_is_told_what_it_returned(result):
    with pytest.raises(TypeError, match=f"returned {type(result).__name__}"):
        make_forgetful(result).work().run(2)


# ---- C21, C22


def test_c21_pipelines_over_different_datasets_cannot_be_added():
    one, other = Dataset(4, MyBatch), Dataset(6, MyBatch)
    with pytest.raises(ValueError, match="different datasets"):
        one.p.ok() + other.p.ok()


def test_c21_pipelines_over_equal_but_different_datasets_cannot_be_added():
    with pytest.raises(ValueError, match="different datasets"):
        Dataset(4, MyBatch).p.ok() + Dataset(4, MyBatch).p.ok()


def test_c21_pipelines_over_one_dataset_can_be_added():
    assert tags(DATASET.p.tag("a") + DATASET.p.tag("b")) == [["a", "b"], ["a", "b"]]


def test_c22_the_length_of_a_pipeline_is_the_number_of_items_with_steps_and_without():
    assert len(DATASET.p) == len(DATASET.p.ok().tag("a")) == len(DATASET)


def test_c22_a_pipeline_without_steps_is_true():
    assert DATASET.p


@pytest.mark.parametrize("batch_class", [Batch, ArrayBatch])
def test_c22_data_can_be_assigned(batch_class):
    batch = Dataset(3, batch_class).create_batch([0, 1, 2])
    batch.data = np.array([1, 2, 3])
    assert batch.data.tolist() == [1, 2, 3]


@pytest.mark.parametrize("parent", [Batch, ArrayBatch])
def test_c22_data_assigned_to_a_batch_with_components_goes_to_them(parent):
    class Parts(parent):
        components = "a", "b"

    batch = Dataset(2, Parts).create_batch([0, 1])
    batch.data = np.array([1, 2]), np.array([3, 4])
    assert (batch.a.tolist(), batch.b.tolist()) == ([1, 2], [3, 4])


@each_prefetch
@pytest.mark.parametrize("mode", ["static", "dynamic"])
def test_c22_an_action_finds_a_model_by_its_name(mode, prefetch):
    found = []

    class Modelled(Batch):
        if mode == "static":

            @model()
            def net():
                return "the net"

        else:

            @model(mode="dynamic")
            def net(batch):
                return "the net"

        @action(model="net", singleton=True)
        def train(self, net):
            found.append((net, self.get_model_by_name("net")))
            return self

    Dataset(4, Modelled).p.train().run(2, prefetch=prefetch)
    assert found == [("the net", "the net")] * 2


def test_c22_a_batch_outside_a_run_finds_a_model_by_its_name():
    class Modelled(Batch):
        @model()
        def net():
            return "the net"

    assert Modelled([0]).get_model_by_name("net") == "the net"
