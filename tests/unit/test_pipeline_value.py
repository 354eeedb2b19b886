"""The pipeline as a value: chaining, sharing, copying, comparing, showing, refusing."""

import copy
import inspect
import pickle

import numpy as np
import pytest

from batchflow import (
    ArgumentTypeError,
    ArgumentValueError,
    ArrayBatch,
    Batch,
    Dataset,
    Pipeline,
    UnknownAttributeError,
    UnknownNameError,
    action,
    model,
)


class Numbers(ArrayBatch):
    @action
    def add(self, value):
        """Add a value."""
        self.data = self.data + value
        return self

    @action
    def multiply(self, by=2):
        self.data = self.data * by
        return self

    @action(singleton=True)
    def note(self):
        self.pipeline.v("seen").append(self.number)
        return self

    @model()
    def net():
        return "net"

    @action(model="net", singleton=True)
    def train(self, net):
        return self

    @action(model="nett")
    def lost(self, net):
        return self


class Others(ArrayBatch):
    @action
    def other(self):
        return self


DATASET = Dataset.from_arrays(Numbers, data=[1, 2, 3, 4])


def results(pipeline, batch_size=2, **options):
    return [b.data.tolist() for b in pipeline.gen_batch(batch_size, **options)]


def line_here():
    return inspect.currentframe().f_back.f_lineno


# ---- a value


def test_chaining_leaves_the_pipeline_as_it_is():
    pipeline = DATASET.p.add(1)
    pipeline.add(10)
    assert results(pipeline) == [[2, 3], [4, 5]]


def test_a_common_beginning_is_shared():
    begin = DATASET.p.add(1)
    assert (results(begin.add(10)), results(begin.multiply())) == (
        [[12, 13], [14, 15]],
        [[4, 6], [8, 10]],
    )


def test_init_variable_leaves_the_pipeline_as_it_is():
    pipeline = DATASET.p
    pipeline.init_variable("n", 0)
    assert not pipeline.has_variable("n")


def test_run_later_leaves_the_pipeline_as_it_is():
    pipeline = DATASET.p.add(1)
    pipeline.run_later(2)
    with pytest.raises(ArgumentTypeError, match="batch_size is missing"):
        pipeline.run()


@pytest.mark.parametrize("name", ["add", "anything", "_plan", "_source", "seed"])
def test_nothing_can_be_assigned_to_a_pipeline(name):
    with pytest.raises(AttributeError, match=f"a pipeline is a value: {name!r}"):
        setattr(DATASET.p, name, 1)


@pytest.mark.parametrize("name", ["run", "add", "seed", "anything"])
def test_nothing_can_be_deleted_from_a_pipeline(name):
    with pytest.raises(AttributeError):
        delattr(DATASET.p.add(1), name)


def test_the_same_chain_twice_is_equal():
    assert DATASET.p.add(1).multiply(by=3) == DATASET.p.add(1).multiply(by=3)


def test_equal_pipelines_have_equal_hashes():
    one, two = (DATASET.p.add(np.arange(2)).init_variable("n", []) for _ in range(2))
    assert (one == two, hash(one) == hash(two)) == (True, True)


@pytest.mark.parametrize(
    "other",
    [
        DATASET.p,
        DATASET.p.add(2),
        DATASET.p.add(1.0),
        DATASET.p.add(value=1),
        DATASET.p.add(1).add(1),
        DATASET.p.multiply(1),
        DATASET.p.add(1).init_variable("n"),
        Dataset.from_arrays(Numbers, data=[1, 2, 3, 4]).p.add(1),
        Pipeline().add(1),
        "add(1)",
    ],
    ids=lambda other: str(other).replace("\n", " ")[:60],
)
def test_pipelines_that_differ_are_not_equal(other):
    assert DATASET.p.add(1) != other


def test_pipelines_that_would_run_differently_are_not_equal():
    assert DATASET.p.add(1).run_later(2) != DATASET.p.add(1).run_later(3)


def test_pipelines_with_array_arguments_compare_by_value():
    one, two, three = (DATASET.p.add(np.array(a)) for a in ([1, 2], [1, 2], [1, 3]))
    assert (one == two, one == three) == (True, False)


def test_a_pipeline_is_a_key():
    assert {DATASET.p.add(1): "found"}[DATASET.p.add(1)] == "found"


COPIES = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda p: pickle.loads(pickle.dumps(p)),
}
copies = pytest.mark.parametrize("again", COPIES.values(), ids=COPIES)


@copies
def test_a_copy_of_a_piece_is_equal(again):
    piece = Pipeline().add(np.arange(2)).init_variable("n", [1])
    assert (again(piece) == piece, hash(again(piece)) == hash(piece)) == (True, True)


@copies
def test_a_copy_gives_the_same_batches(again):
    pipeline = DATASET.p.add(1).multiply()
    assert results(again(pipeline)) == results(pipeline)


@copies
def test_a_copy_keeps_the_options_for_later(again):
    assert len(list(again(DATASET.p.add(1).run_later(1)).gen_batch())) == 4


@copies
def test_a_copy_has_its_own_variables(again):
    pipeline = DATASET.p.init_variable("n", 0)
    pipeline.set_variable("n", 5)
    assert again(pipeline).v("n") == 0


@copies
def test_a_copy_has_its_own_cursor(again):
    pipeline = DATASET.p.add(1)
    pipeline.next_batch(1)
    assert again(pipeline).next_batch(1).number == 0


@copies
def test_a_copy_tells_where_its_steps_were_chained(again):
    assert repr(again(Pipeline().add(1))).endswith(f"{__file__}:{line_here()}")


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy])
def test_a_copy_is_over_the_same_dataset(again):
    pipeline = DATASET.p.add(1)
    assert (again(pipeline).dataset is DATASET, again(pipeline) == pipeline) == (True, True)


def test_pipelines_pickled_together_stay_equal():
    one, two = pickle.loads(pickle.dumps((DATASET.p.add(1), DATASET.p.add(1))))
    assert one == two


def test_a_pipeline_is_true():
    assert bool(Pipeline())


def test_len_is_the_number_of_steps():
    assert [len(p._plan.steps) for p in (Pipeline(), DATASET.p.add(1).add(2))] == [0, 2]


def test_dir_shows_the_actions():
    assert {"add", "multiply", "run"} <= set(dir(DATASET.p))


def test_a_chaining_function_shows_the_docstring_of_its_action():
    assert (DATASET.p.add.__doc__, DATASET.p.add.__name__) == ("Add a value.", "add")


def test_iterating_runs_with_the_options_set_ahead():
    assert [b.data.tolist() for b in DATASET.p.add(1).run_later(2)] == [[2, 3], [4, 5]]


# ---- pieces without a dataset


def test_a_piece_is_put_over_a_dataset_from_both_sides():
    piece = Pipeline().add(1)
    assert results(DATASET >> piece) == results(piece << DATASET) == [[2, 3], [4, 5]]


def test_a_piece_serves_several_datasets():
    piece = Pipeline().add(1)
    other = Dataset.from_arrays(Numbers, data=[10])
    assert (results(DATASET >> piece)[0], results(other >> piece, 1)) == ([2, 3], [[11]])


def test_putting_a_piece_over_a_dataset_leaves_the_piece_as_it_is():
    piece = Pipeline().add(1)
    _ = DATASET >> piece
    assert piece.dataset is None


def test_a_pipeline_may_move_to_another_dataset():
    moved = Dataset.from_arrays(Numbers, data=[10]) >> DATASET.p.add(1)
    assert results(moved, 1) == [[11]]


def test_a_piece_takes_any_action_name():
    assert len(Pipeline().whatever(1, two=2).more()._plan.steps) == 2


def test_an_unknown_action_of_a_piece_is_refused_when_it_meets_its_dataset():
    piece = Pipeline().ad(1)
    line = line_here() - 1
    with pytest.raises(
        UnknownAttributeError, match=rf"{__name__.split('.')[-1]}\.py:{line}.*Did you mean 'add'"
    ):
        DATASET >> piece


def test_wrong_arguments_of_a_piece_are_refused_when_it_meets_its_dataset():
    with pytest.raises(ArgumentTypeError, match=r"missing.*'value'"):
        DATASET >> Pipeline().add()


def test_the_refusal_of_a_piece_says_where_it_was_chained():
    piece = Pipeline().add()
    line = line_here() - 1
    with pytest.raises(ArgumentTypeError, match=rf"\.py:{line}"):
        DATASET >> piece


def test_an_unknown_model_of_a_piece_is_refused_when_it_meets_its_dataset():
    with pytest.raises(UnknownNameError, match=r"no model 'nett'.*Did you mean 'net'"):
        DATASET >> Pipeline().lost()


@pytest.mark.parametrize(
    "start",
    [
        lambda p: p.run(2),
        lambda p: p.gen_batch(2),
        lambda p: p.next_batch(2),
        lambda p: p.replay(0, 2),
        lambda p: p.models,
    ],
    ids=["run", "gen_batch", "next_batch", "replay", "models"],
)
def test_a_piece_does_not_run_and_says_what_to_do(start):
    with pytest.raises(ArgumentTypeError, match="dataset >> pipeline"):
        start(Pipeline().add(1))


@pytest.mark.parametrize(
    "wrong",
    [5, "text", [1, 2], None, object()],
    ids=lambda value: repr(value).partition(" at 0x")[0],
)
def test_a_piece_goes_over_nothing_but_a_dataset(wrong):
    with pytest.raises(TypeError):
        Pipeline().add(1) << wrong


@pytest.mark.parametrize("wrong", [5, "text", None], ids=repr)
def test_a_dataset_goes_under_nothing_but_a_pipeline(wrong):
    with pytest.raises(TypeError):
        DATASET >> wrong


@pytest.mark.parametrize("piece", [Pipeline(), Pipeline().add(1)], ids=["empty", "one"])
def test_a_piece_does_not_go_over_another_piece(piece):
    with pytest.raises(TypeError):
        piece << Pipeline()


@pytest.mark.parametrize("wrong", [5, np.arange(3), Pipeline(), Numbers], ids=str)
def test_a_pipeline_is_made_over_a_dataset_or_nothing(wrong):
    with pytest.raises(TypeError, match="dataset"):
        Pipeline(wrong).add(1)


# ---- adding


def test_pipelines_are_added_in_order():
    assert results(DATASET.p.add(1) + Pipeline().multiply(10)) == [[20, 30], [40, 50]]


def test_a_piece_may_come_first():
    assert results(Pipeline().add(1) + DATASET.p.multiply(10)) == [[20, 30], [40, 50]]


def test_two_pieces_make_a_piece():
    both = Pipeline().add(1) + Pipeline().multiply(10)
    assert (both.dataset, results(DATASET >> both)) == (None, [[20, 30], [40, 50]])


def test_two_pipelines_over_one_dataset_are_added():
    assert len((DATASET.p.add(1) + DATASET.p.add(2))._plan.steps) == 2


def test_adding_leaves_both_as_they_are():
    one, two = DATASET.p.add(1), Pipeline().add(2)
    _ = one + two
    assert (len(one._plan.steps), len(two._plan.steps)) == (1, 1)


def test_adding_is_associative():
    a, b, c = DATASET.p.add(1), Pipeline().multiply(), Pipeline().add(3)
    assert (a + b) + c == a + (b + c)


def test_adding_nothing_changes_nothing():
    pipeline = DATASET.p.add(1).init_variable("n", 0)
    assert pipeline + Pipeline() == Pipeline() + pipeline == pipeline


def test_pipelines_over_different_datasets_are_not_added():
    other = Dataset.from_arrays(Numbers, data=[1])
    with pytest.raises(ArgumentValueError, match=r"different datasets.*Pipeline\(\)"):
        DATASET.p.add(1) + other.p.add(1)


def test_adding_checks_the_actions_of_a_piece():
    with pytest.raises(UnknownAttributeError, match="no action 'other'"):
        DATASET.p.add(1) + Pipeline().other()


@pytest.mark.parametrize("wrong", [5, "text", None, DATASET], ids=str)
def test_only_pipelines_are_added(wrong):
    with pytest.raises(TypeError):
        DATASET.p + wrong


def test_adding_brings_the_variables_of_both():
    both = DATASET.p.init_variable("a", 1) + Pipeline().init_variable("b", 2)
    assert (both.v("a"), both.v("b")) == (1, 2)


def test_adding_pipelines_that_declare_a_variable_differently_is_refused():
    with pytest.raises(ArgumentValueError, match="variable 'a'"):
        DATASET.p.init_variable("a", 1) + Pipeline().init_variable("a", 2)


def test_adding_keeps_the_options_set_ahead():
    assert len(list((Pipeline().add(1) + DATASET.p.run_later(1)).gen_batch())) == 4


# ---- refusals


@pytest.mark.parametrize("dunder", ["__array__", "_repr_latex_", "_ipython_display_", "_x"])
def test_a_private_name_is_no_action(dunder):
    assert not hasattr(Pipeline(), dunder)


def test_a_run_option_is_not_mistaken_for_an_action():
    with pytest.raises(UnknownAttributeError, match="no action 'rum'"):
        DATASET.p.rum(2)


# ---- showing


def test_repr_shows_a_numbered_line_for_each_action():
    lines = repr(DATASET.p.add(1).multiply(by=3)).splitlines()[1:]
    assert [line.split("  at ")[0].strip() for line in lines] == ["0 add(1)", "1 multiply(by=3)"]


def test_repr_shows_where_each_action_was_chained():
    pipeline = (
        DATASET.p.add(1)
        .add(2)
        .add(3)
    )  # fmt: skip
    last = line_here() - 2
    lines = repr(pipeline).splitlines()[1:]
    assert [line.split("  at ")[1] for line in lines] == [
        f"{__file__}:{last + i}" for i in (-2, -1, 0)
    ]


def test_a_step_was_chained_where_it_was_called():
    add = DATASET.p.add
    pipeline = add(1)
    assert repr(pipeline).endswith(f":{line_here() - 1}")


def test_repr_shows_the_borders_of_the_ordered_section():
    lines = repr(DATASET.p.add(1).note().add(2).train().add(3)).splitlines()[1:]
    shown = ["--" if "--" in line else line.split()[1] for line in lines]
    assert shown == ["add(1)", "--", "note()", "add(2)", "train()", "--", "add(3)"]


def test_repr_shows_the_model_of_a_step():
    assert "train()  [model net]" in repr(DATASET.p.train())


def test_repr_shows_the_dataset_and_the_variables():
    shown = repr(DATASET.p.init_variable("a").init_variable("b"))
    assert shown == "<Pipeline over <Dataset of 4 items, Numbers>; variables a, b>"


def test_repr_of_a_piece_numbers_its_steps():
    lines = repr(Pipeline().add(1).zzz(k=2)).splitlines()
    assert [lines[0]] + [line.split("  at ")[0].strip() for line in lines[1:]] == [
        "<Pipeline over no dataset>",
        "0 add(1)",
        "1 zzz(k=2)",
    ]


def test_repr_has_one_line_per_action_whatever_the_arguments():
    pipeline = DATASET.p.add([np.eye(2)]).add(1)
    assert len(repr(pipeline).splitlines()) == 3


# ---- the dataset's side


def test_p_and_pipeline_are_the_same():
    assert DATASET.p == DATASET.pipeline() == Pipeline(DATASET)


def test_a_pipeline_knows_its_dataset():
    assert DATASET.p.add(1).dataset is DATASET


def test_a_dataset_gives_raw_batches():
    assert [b.data.tolist() for b in DATASET.gen_batch(3)] == [[1, 2, 3], [4]]


def test_a_batch_class_may_have_no_data_at_all():
    class Names(Batch):
        @action
        def touch(self):
            return self

    assert [b.indices.tolist() for b in Dataset(["a", "b"], Names).p.touch().gen_batch(1)] == [
        ["a"],
        ["b"],
    ]


def test_an_action_of_the_class_wins_over_everything_but_reserved_names():
    class Mine(Batch):
        @action
        def train_model(self, session):
            self.got = session
            return self

        @action
        def load(self, path):
            return self

        @action
        def print(self):
            return self

    pipeline = Dataset(1, Mine).p.load("/some/path").print().train_model(session=5)
    assert next(pipeline.gen_batch(1)).got == 5
