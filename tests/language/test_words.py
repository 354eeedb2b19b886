"""The other words of a chain: variables, given batches, namespaces, bars, later runs, names."""

import math
import types

import numpy as np
import pytest
from kit import does_not_raise

from batchflow import (
    ArgumentTypeError,
    ArgumentValueError,
    ArrayBatch,
    B,
    Dataset,
    I,
    Pipeline,
    R,
    RunClosedError,
    SkipBatch,
    StopPipeline,
    UnknownAttributeError,
    UnknownNameError,
    V,
    action,
)
from batchflow.testing import nothing_left

from .conftest import each_prefetch


class Rows(ArrayBatch):
    components = "x"

    @action
    def scale(self, factor):
        self.x = self.x * factor
        return self

    @action
    def fail(self, error=None):
        raise error or ValueError("failed")

    @action(singleton=True)
    def count(self, name="n"):
        self.pipeline.set_variable(name, self.pipeline.v(name) + len(self))
        return self


@pytest.fixture
def dataset():
    return Dataset.from_arrays(Rows, x=np.arange(8.0))


# ---- variables


def test_several_variables_are_declared_by_their_names(dataset):
    pipeline = dataset.p.init_variables(["a", "b"])
    assert (pipeline.v("a"), pipeline.v("b")) == (None, None)


def test_several_variables_are_declared_with_values_or_arguments(dataset):
    given = {"a": 1, "b": {"init": list}, "c": {"default": 2, "init_on_each_run": True}, "d": {}}
    pipeline = dataset.p.init_variables(given)
    assert [pipeline.v(name) for name in "abcd"] == [1, [], 2, {}]


def test_a_dictionary_that_is_no_arguments_is_a_value(dataset):
    assert dataset.p.init_variables({"a": {"weights": 1}}).v("a") == {"weights": 1}


def test_a_variable_is_deleted_in_the_new_pipeline_only(dataset):
    parent = dataset.p.init_variables(["a", "b"])
    child = parent.delete_variable("a")
    assert [p.has_variable("a") for p in (parent, child)] == [True, False]
    assert child.has_variable("b")


@pytest.mark.parametrize("names", ["a", ["a"], ["a", "b"], None])
def test_several_variables_are_deleted(dataset, names):
    pipeline = dataset.p.init_variables(["a", "b"]).delete_variables(names)
    assert not pipeline.has_variable("a")
    assert pipeline.has_variable("b") == (names in ("a", ["a"]))


def test_an_unknown_variable_cannot_be_deleted(dataset):
    with pytest.raises(UnknownNameError, match="Did you mean 'loss'"):
        dataset.p.init_variable("loss").delete_variable("los")


def test_a_step_that_uses_a_deleted_variable_is_refused_before_the_run(dataset):
    pipeline = dataset.p.init_variable("n", 0).update(V("n"), 1).delete_variable("n")
    with pytest.raises(UnknownNameError, match=r"update\(V\('n'\), 1\)"):
        pipeline.gen_batch(4)


def test_set_v_gives_a_value_at_once(dataset):
    pipeline = dataset.p.init_variable("n", 0)
    pipeline.set_v("n", 3)
    assert (pipeline.v("n"), pipeline.get_variable("n")) == (3, 3)


def test_set_v_of_an_unknown_variable_is_refused(dataset):
    with pytest.raises(UnknownNameError, match="Did you mean 'loss'"):
        dataset.p.init_variable("loss").set_v("los", 1)


@each_prefetch
def test_run_now_runs(dataset, prefetch):
    assert dataset.p.init_variable("n", 0).count().run_now(2, prefetch=prefetch).v("n") == 8


# ---- reset


@pytest.mark.parametrize("word", ["variables", "vars", "all"])
def test_reset_gives_variables_their_first_value(dataset, word):
    assert dataset.p.init_variable("n", 5).count().run(4).reset(word).v("n") == 5


def test_reset_of_something_else_leaves_the_variables(dataset):
    assert dataset.p.init_variable("n", 0).count().run(4).reset("iter", "models").v("n") == 8


def test_reset_begins_the_open_run_anew(dataset):
    pipeline = dataset.p
    assert [pipeline.next_batch(4).number for _ in range(2)] == [0, 1]
    assert pipeline.reset().next_batch(4).number == 0
    pipeline.reset("variables", "models")
    assert pipeline.next_batch().number == 1
    assert pipeline.reset("all").next_batch(4).number == 0


@pytest.mark.parametrize("word", ["variabels", None, ["iter"]])
def test_reset_of_an_unknown_part_is_refused(dataset, word):
    with pytest.raises(ArgumentValueError, match="no such part"):
        dataset.p.reset(word)


# ---- one given batch


def test_a_given_batch_goes_through_the_steps(dataset):
    given = dataset.create_batch([2, 1])
    batch = dataset.p.scale(10).execute_for(given)
    assert batch is given
    assert batch.x.tolist() == [20, 10]


def test_without_a_dataset_the_steps_are_those_of_the_batch(dataset):
    piece = Pipeline(config={"k": 3}).init_variable("n", 0).scale(10).count()
    assert piece.execute_for(dataset.create_batch([2, 1])).x.tolist() == [20, 10]
    assert piece.v("n") == 2


def test_without_a_dataset_unknown_steps_are_refused(dataset):
    with pytest.raises(UnknownAttributeError, match="Did you mean 'scale'"):
        Pipeline().scal(3).execute_for(dataset.create_batch([1]))


def test_given_batches_change_the_variables(dataset):
    pipeline = dataset.p.init_variable("n", 0).count()
    pipeline.execute_for(dataset.create_batch([1, 2]))
    pipeline.execute_for(dataset.create_batch([3]))
    assert pipeline.v("n") == 3


def test_a_given_batch_begins_no_run(dataset):
    told = []
    chain = (
        dataset.p.before.call(told.append, 1).after.call(told.append, 2).once.call(told.append, 3)
    )
    pipeline = chain.init_variable("n", init_on_each_run=lambda: 0).main.count().run(4, seed=7)
    del told[:]
    pipeline.execute_for(dataset.create_batch([1]))
    assert (told, pipeline.v("n"), pipeline.seed) == ([], 9, 7)


@pytest.mark.parametrize("signal", [SkipBatch, StopPipeline])
def test_a_given_batch_that_is_skipped_or_stopped_is_none(dataset, signal):
    assert dataset.p.fail(signal()).execute_for(dataset.create_batch([1])) is None


def test_the_error_of_a_given_batch_arrives_with_its_action(dataset):
    error = ValueError("mine")
    with pytest.raises(ValueError) as caught:
        dataset.p.scale(2).fail(error).execute_for(dataset.create_batch([1]))
    assert caught.value is error
    assert error.__notes__[0].startswith("in the action 'fail', chained at ")


def test_the_notes_of_a_given_batch_speak_of_no_other_pipeline(dataset):
    batch = next(dataset.p.gen_batch(4))
    with pytest.raises(ValueError, match="failed") as caught:
        dataset.p.fail().execute_for(batch)
    assert not any("joined" in note for note in caught.value.__notes__)


def test_after_an_error_of_a_given_batch_another_thread_can_train(dataset):
    pipeline = dataset.p.init_variable("n", 0).count().fail()
    for _ in range(2):
        with pytest.raises(ValueError, match="failed"):
            pipeline.execute_for(dataset.create_batch([1]))
    with pytest.raises(ValueError, match="failed"):
        pipeline.run(4, prefetch=2)


def test_the_randomness_of_a_given_batch_is_a_function_of_the_seed(dataset):
    def factors(seed):
        batch = dataset.p.scale(R.normal(size=2)).execute_for(
            dataset.create_batch([1, 2]), seed=seed
        )
        return batch.x.tolist()

    assert factors(1) == factors(1) != factors(2)


def test_without_a_seed_a_given_batch_keeps_its_randomness(dataset):
    chain = dataset.p.scale(R.normal())
    in_run = [batch.x.tolist() for batch in chain.gen_batch(4, seed=3)]
    given = [chain.execute_for(batch).x.tolist() for batch in dataset.p.gen_batch(4, seed=3)]
    assert given == in_run


@pytest.mark.parametrize("seed", ["a", 1.5, True, -1])
def test_a_bad_seed_is_refused_as_in_a_run(dataset, seed):
    with pytest.raises((ArgumentTypeError, ArgumentValueError), match="seed"):
        dataset.p.execute_for(dataset.create_batch([1]), seed=seed)


def test_a_given_batch_gets_joined_batches_with_its_ids(dataset):
    other = Dataset.from_arrays(Rows, x=100 + np.arange(8.0)).p.scale(2)
    chain = dataset.p.join(other).call(lambda joined: joined.x, save_to=B.other)
    assert chain.execute_for(dataset.create_batch([2, 1])).other.tolist() == [204, 202]


@pytest.mark.parametrize(
    "chain", [lambda p: p.rebatch(2), lambda p: p.merge(p), lambda p: p.concat(p)]
)
def test_regroupings_of_a_given_batch_are_refused(dataset, chain):
    with pytest.raises(ArgumentValueError, match="run the pipeline instead"):
        chain(dataset.p).execute_for(dataset.create_batch([1]))


@pytest.mark.parametrize("batch", [[1], None, Rows])
def test_what_is_no_batch_is_refused(dataset, batch):
    with pytest.raises(ArgumentTypeError, match="takes a batch"):
        dataset.p.execute_for(batch)


def test_a_given_batch_may_run_another_pipeline_in_a_step(dataset):
    inner = Pipeline().scale(3)
    chain = dataset.p.call(lambda batch: inner.execute_for(batch), B())
    assert chain.execute_for(dataset.create_batch([1])).x.tolist() == [3]


# ---- with


def test_with_gives_the_pipeline_itself(dataset):
    with Pipeline() as p:
        pieces = p.scale(2) + p.scale(3)
    assert next((dataset >> pieces).gen_batch(8)).x[1] == 6


def test_with_lets_errors_out():
    with pytest.raises(ValueError, match="mine"), Pipeline():
        raise ValueError("mine")


# ---- namespaces


@pytest.mark.parametrize("namespace", [math, "math", types.SimpleNamespace(sqrt=math.sqrt)])
@each_prefetch
def test_functions_of_a_namespace_are_steps(dataset, namespace, prefetch):
    chain = dataset.p.add_namespace(namespace).sqrt(4 * B.number**2, save_to=B.y)
    assert [batch.y for batch in chain.gen_batch(4, prefetch=prefetch)] == [0, 2]


def test_a_piece_finds_its_namespace_wherever_that_is_added(dataset):
    piece = Pipeline().sqrt(4, save_to=B.y).add_namespace("math")
    assert next((dataset >> piece).gen_batch(4)).y == 2


def test_a_chain_over_a_dataset_needs_the_namespace_first(dataset):
    with pytest.raises(UnknownAttributeError, match="no action 'sqrt'"):
        dataset.p.sqrt(4)


def test_a_name_with_dots_is_imported(dataset):
    chain = dataset.p.add_namespace("os.path").basename("a/b", save_to=B.y)
    assert next(chain.gen_batch(4)).y == "b"


def test_an_unknown_module_is_refused_at_once(dataset):
    with pytest.raises(ModuleNotFoundError):
        dataset.p.add_namespace("no_such_module_here")


def test_an_action_comes_before_a_namespace(dataset):
    chain = dataset.p.add_namespace(types.SimpleNamespace(scale=lambda factor: 1 / 0))
    assert next(chain.scale(2).gen_batch(8)).x[1] == 2


def test_a_built_in_step_comes_before_a_namespace(dataset):
    chain = dataset.p.add_namespace(types.SimpleNamespace(do_nothing=lambda: 1 / 0))
    with does_not_raise():
        next(chain.do_nothing().gen_batch(8))


def test_a_method_of_the_dataset_comes_before_a_namespace():
    class Own(Dataset):
        def where(self):
            return "dataset"

    chain = Own(3, Rows).p.add_namespace(types.SimpleNamespace(where=lambda: "namespace"))
    assert next(chain.where(save_to=B.y).gen_batch(3)).y == "dataset"


def test_the_namespace_that_was_added_last_comes_first(dataset):
    one, two = (types.SimpleNamespace(f=lambda k=k: k) for k in (1, 2))
    assert next(dataset.p.add_namespace(one, two).f(save_to=B.y).gen_batch(8)).y == 2
    assert next(dataset.p.add_namespace(two).add_namespace(one).f(save_to=B.y).gen_batch(8)).y == 1


def test_arguments_of_a_function_are_checked_when_it_is_chained(dataset):
    namespace = types.SimpleNamespace(one=lambda only: only)
    with pytest.raises(ArgumentTypeError, match="chained at"):
        dataset.p.add_namespace(namespace).one(1, 2)


def test_the_error_of_a_function_names_the_step(dataset):
    with pytest.raises(ValueError, match=r"domain|expected") as caught:
        dataset.p.add_namespace(math).sqrt(-1).run(4)
    assert caught.value.__notes__[0].startswith("in the action 'sqrt', chained at ")


def test_a_function_with_a_parameter_batch_gets_what_it_is_given(dataset):
    namespace = types.SimpleNamespace(same=lambda batch: batch)
    assert next(dataset.p.add_namespace(namespace).same(3, save_to=B.y).gen_batch(4)).y == 3


def test_what_a_function_returns_is_a_value_even_if_it_is_a_batch(dataset):
    namespace = types.SimpleNamespace(other=lambda: Rows([77]))
    batch = next(dataset.p.add_namespace(namespace).other(save_to=B.y).gen_batch(4))
    assert (len(batch), batch.y.indices.tolist()) == (4, [77])


def test_a_pipeline_with_any_namespace_is_a_value(dataset):
    namespace = types.SimpleNamespace(f=len)
    one, two = (dataset.p.add_namespace(namespace).f([]) for _ in range(2))
    assert one == two
    assert hash(one) == hash(two)


# ---- methods of the dataset


class Told(Dataset):
    def tell(self, word, times=1):
        return len(self), word * times


@each_prefetch
def test_methods_of_the_dataset_are_steps(prefetch):
    chain = Told(4, Rows).p.tell(B.number, times=10, save_to=B.y)
    assert [batch.y for batch in chain.gen_batch(2, prefetch=prefetch)] == [(4, 0), (4, 10)]


def test_methods_of_the_dataset_are_found_for_a_piece():
    assert next((Told(4, Rows) >> Pipeline().tell("a", save_to=B.y)).gen_batch(2)).y == (4, "a")


def test_arguments_of_methods_are_checked_when_they_are_chained():
    with pytest.raises(ArgumentTypeError, match="missing a required argument: 'word'"):
        Told(4, Rows).p.tell()


def test_an_action_comes_before_a_method_of_the_dataset():
    class Own(Rows):
        @action
        def tell(self, word):
            self.y = word
            return self

    assert next(Told(4, Own).p.tell("action").gen_batch(2)).y == "action"


# ---- the bar


def shown(capsys):
    return capsys.readouterr().err


def test_the_bar_shows_the_last_of_a_list(dataset, capsys):
    chain = dataset.p.init_variable("loss", init=list).update(V("loss", "a"), B.number / 2)
    chain.run(2, bar=V("loss"))
    assert "loss=1.5" in shown(capsys)


def test_the_bar_shows_several_expressions(dataset, capsys):
    dataset.p.init_variable("n", 0).count().run(2, bar=[V("n"), B.x.sum() * 2, I.epoch])
    assert "n=8, (B.x.sum() * 2)=26, I.epoch=0" in shown(capsys)


@pytest.mark.parametrize("bar", ["loss", [], ["loss"], 1, [V("n"), "n"]])
def test_a_bar_of_something_else_is_refused(dataset, bar):
    with pytest.raises(ArgumentTypeError, match="bar must be"):
        dataset.p.init_variable("n").gen_batch(4, bar=bar)


def test_an_undeclared_variable_in_the_bar_is_refused_before_the_run(dataset):
    with pytest.raises(UnknownNameError, match="Did you mean 'loss'"):
        dataset.p.init_variable("loss").gen_batch(4, bar=V("los"))


def test_an_error_in_the_bar_ends_the_run_as_any_error(dataset, capsys):
    with nothing_left():
        run = dataset.p.scale(1).gen_batch(2, bar=B.no_such_thing, prefetch=2)
        with pytest.raises(AttributeError, match="no_such_thing"):
            next(run)
        with pytest.raises(RunClosedError):
            next(run)


def test_the_bar_changes_no_batch(dataset, capsys):
    def drawn(bar):
        return [batch.rng.random() for batch in dataset.p.gen_batch(4, seed=1, bar=bar)]

    assert drawn(R.normal()) == drawn(False)


# ---- later runs


def test_a_pipeline_with_options_is_iterated_over(dataset):
    pipeline = dataset.p.run_later(4, n_epochs=2).scale(2)
    assert [batch.number for batch in pipeline] == [0, 1, 2, 3]
    assert [batch.number for batch in pipeline] == [0, 1, 2, 3]


def test_leaving_the_loop_leaves_nothing(dataset):
    with nothing_left():
        for _ in dataset.p.scale(1).run_later(1, prefetch=4):
            break


def test_iterating_without_options_says_what_is_missing(dataset):
    with pytest.raises(ArgumentTypeError, match="run_later"):
        list(dataset.p.scale(1))


@pytest.mark.parametrize("order", ["before", "after"])
def test_options_stay_whatever_is_chained(dataset, order):
    if order == "before":
        pipeline = dataset >> Pipeline().run_later(4).scale(2)
    else:
        pipeline = (dataset.p.scale(2) + Pipeline()).run_later(4)
    assert len(list(pipeline)) == 2


def test_what_a_run_is_given_comes_before_what_was_set(dataset):
    pipeline = dataset.p.run_later(4, n_epochs=2)
    assert len(pipeline.gen_batch(2)) == 8
    assert len(pipeline.gen_batch(n_epochs=1)) == 2


def test_a_lazy_run_is_run_later(dataset):
    assert dataset.p.run(4, n_epochs=2, lazy=True) == dataset.p.run_later(4, n_epochs=2)


def test_bad_options_are_refused_when_they_are_set(dataset):
    with pytest.raises(ArgumentTypeError, match="Did you mean 'shuffle'"):
        dataset.p.run_later(4, shufle=True)


@pytest.mark.parametrize(
    ("options", "length"),
    [({}, 3), ({"drop_last": True}, 2), ({"n_iters": 7}, 7), ({"n_epochs": 2}, 6)],
)
def test_the_length_of_a_run_is_known(dataset, options, length):
    assert len(dataset.p.gen_batch(3, **options)) == length


def test_the_length_of_a_run_counts_batches_behind_a_rebatch(dataset):
    assert len(dataset.p.rebatch(5).gen_batch(3, n_epochs=2)) == 4


def test_an_endless_run_has_no_length(dataset):
    with pytest.raises(TypeError, match="endless"):
        len(dataset.p.gen_batch(3, n_epochs=None))


# ---- whose name wins

STEPS = (
    "apply_parallel",
    "call",
    "discard_batch",
    "do_nothing",
    "evaluate_model",
    "filter",
    "join",
    "load",
    "map",
    "merge",
    "predict_model",
    "print",
    "rebatch",
    "save_model",
    "train_model",
    "update",
)
WORDS = (
    "add_namespace",
    "concat",
    "delete_variables",
    "gives",
    "import_model",
    "last_profile",
    "load_model",
    "once",
    "profile",
    "set_v",
    "to_arrays",
    "to_mermaid",
)


def with_action(name):
    def own(self, *args, **kwargs):
        self.mine = args, kwargs
        return self

    own.__name__ = name
    return Dataset(4, type("Own", (Rows,), {name: action(own)}))


@pytest.mark.parametrize("name", [*STEPS, *WORDS])
def test_an_action_of_the_class_wins(name):
    batch = next(getattr(with_action(name).p, name)("one", two=2).gen_batch(4))
    assert batch.mine == (("one",), {"two": 2})


# A piece does not know the class; there a word that is no step is the chain's own.
@pytest.mark.parametrize("name", STEPS)
def test_an_action_of_the_class_wins_in_a_piece(name):
    piece = getattr(Pipeline(), name)("one", two=2)
    assert next((with_action(name) >> piece).gen_batch(4)).mine == (("one",), {"two": 2})


@pytest.mark.parametrize("name", [*STEPS, *WORDS])
def test_an_action_of_the_class_wins_without_arguments(name):
    assert next(getattr(with_action(name).p, name)().gen_batch(4)).mine == ((), {})


def test_every_other_name_of_a_pipeline_is_reserved():
    public = {name for name in vars_of(Pipeline) if not name.startswith("_")}
    for name in sorted(public - {*STEPS, *WORDS}):
        with pytest.raises(ArgumentValueError, match=f"cannot be called '{name}'"):
            with_action(name)


def vars_of(cls):
    return {name for owner in cls.__mro__ for name in vars(owner)}


def test_the_names_of_the_classic_document_work_as_written():
    class Classic(Rows):
        @action
        def train_model(self, session):
            self.session = session
            return self

        @action
        def load(self, path):
            self.path = path
            return self

    batch = next(Dataset(4, Classic).p.load("/some/path").train_model(session=3).gen_batch(4))
    assert (batch.path, batch.session) == ("/some/path", 3)
