"""The classic document "Working with models", row by row.

Descriptors of the frameworks are in `test_document_003_descriptors`, its graph code is in
`test_document_003_graphs`.
"""

import threading

import numpy as np
import pytest
from harms.conftest import Room, in_threads
from kit import does_not_raise

from batchflow import (
    ArrayBatch,
    Dataset,
    ModelDefinitionError,
    UnknownNameError,
    action,
    model,
)

pytestmark = pytest.mark.usefixtures("most_interleavings")

each_prefetch = pytest.mark.parametrize("prefetch", [0, 4])


def make_class(define=dict):
    """Make a class with a model, and the list of the runs of its definition."""
    runs = []

    class MyArrayBatch(ArrayBatch):
        @model()
        def basic_model():
            runs.append(threading.current_thread())
            return define()

        @action(model="basic_model")
        def train_model(self, model_spec, session):
            self.got_to_train = model_spec, session
            return self

        @action(model="basic_model")
        def evaluate_model(self, model_spec, session=None):
            self.got_to_evaluate = model_spec, session
            return self

        @action(model="basic_model", singleton=True)
        def train_it(self, model_spec, sess):
            sess(self.number)
            return self

    return MyArrayBatch, runs


def of(batch_class, n_items=8):
    return Dataset.from_arrays(batch_class, data=np.arange(float(n_items)))


# ---- "a model definition method is marked with a @model decorator"


def test_row_definition_the_class_the_chain_and_an_opened_run_make_no_model():
    batch_class, runs = make_class()
    of(batch_class).p.train_model(session=None).gen_batch(2)
    assert (runs, repr(batch_class.models)) == (
        [],
        "MyArrayBatch.models(basic_model: not made yet)",
    )


@each_prefetch
def test_row_definition_the_first_need_makes_it_once_in_the_thread_of_the_need(prefetch):
    batch_class, runs = make_class()
    for _ in range(2):
        of(batch_class).p.train_model(session=None).run(2, prefetch=prefetch)
    assert runs == [threading.current_thread()]


def test_row_definition_several_threads_that_need_it_at_once_make_it_once():
    batch_class, runs = make_class(object)
    specs = in_threads(*[lambda: batch_class.models["basic_model"]] * 6)
    assert (len(runs), len(set(map(id, specs)))) == (1, 1)


def test_row_parentheses_without_them_the_error_shows_the_fix():
    with pytest.raises(TypeError, match=r"write @model\(\) above def basic_model"):

        class MyArrayBatch(ArrayBatch):
            @model
            def basic_model():
                return []


@pytest.mark.parametrize("definition", [lambda self: [], lambda batch, n=1: [], lambda *a: []])
def test_row_no_arguments_not_even_self(definition):
    with pytest.raises(TypeError, match=r"takes no arguments, not even self"):
        type("MyArrayBatch", (ArrayBatch,), {"basic_model": model()(definition)})


def test_row_never_call_a_call_gives_the_descriptor_and_makes_no_second_one():
    batch_class, runs = make_class(object)
    spec = batch_class.models["basic_model"]
    batch = of(batch_class).create_batch([0])
    assert [batch_class.basic_model() is spec, batch.basic_model() is spec] == [True, True]
    assert len(runs) == 1


def test_row_the_documents_own_slip_is_the_name_error_of_the_definition():
    batch_class, _ = make_class(lambda: data)  # noqa: F821  as in the document
    with pytest.raises(NameError, match="'data' is not defined") as caught:
        of(batch_class).p.train_model(session=None).run(2, prefetch=2)
    assert caught.value.__notes__ == ["while the model 'basic_model' was made"]


# ---- "the model is saved in an internal model directory"


def test_row_directory_names_and_descriptors_are_found_by_name():
    batch_class, _ = make_class()
    assert (batch_class.models.names, "basic_model" in batch_class.models) == (
        ("basic_model",),
        True,
    )
    assert of(batch_class).p.models["basic_model"] is batch_class.models["basic_model"]


def test_row_directory_a_subclass_shares_the_model_unless_it_redefines_it():
    batch_class, _ = make_class(object)
    heir = type("Heir", (batch_class,), {})

    class Own(batch_class):
        @model()
        def basic_model():
            return "own"

    assert heir.models["basic_model"] is batch_class.models["basic_model"]
    assert Own.models["basic_model"] == "own"
    assert next(of(Own).p.evaluate_model().gen_batch(2)).got_to_evaluate[0] == "own"


def test_row_directory_reset_lets_the_next_need_make_another():
    batch_class, runs = make_class(object)
    first = batch_class.models["basic_model"]
    batch_class.models.reset("basic_model")
    assert batch_class.models["basic_model"] is not first
    assert len(runs) == 2


def test_row_directory_a_class_defined_again_has_a_model_of_its_own():
    specs = [make_class(object)[0].models["basic_model"] for _ in range(2)]
    assert specs[0] is not specs[1]


def test_row_directory_an_unknown_name_is_refused_when_it_is_chained():
    class MyArrayBatch(make_class()[0]):
        @action(model="basic_mode")
        def test_it(self, model_spec):
            return self

    with pytest.raises(UnknownNameError, match=r"no model 'basic_mode'.*mean 'basic_model'"):
        of(MyArrayBatch).p.test_it()


@each_prefetch
def test_row_directory_a_parallel_action_makes_no_model_and_gets_the_one_that_is_there(prefetch):
    class MyArrayBatch(make_class()[0]):
        @action
        def look_up(self):
            self.spec = self.get_model_by_name("basic_model")
            return self

    pipeline = of(MyArrayBatch).p.look_up()
    with pytest.raises(ModelDefinitionError, match=r"not made yet.*@action\(model="):
        pipeline.run(2, prefetch=prefetch)
    spec = MyArrayBatch.models["basic_model"]
    assert all(batch.spec is spec for batch in pipeline.gen_batch(2, prefetch=prefetch))
    MyArrayBatch.models.reset("basic_model")
    chain = of(MyArrayBatch).p.look_up().evaluate_model()  # a step that names it
    assert all(
        batch.spec is batch.got_to_evaluate[0] for batch in chain.gen_batch(2, prefetch=prefetch)
    )


# ---- "it is for you to decide what the model descriptor is"


@pytest.mark.parametrize("spec", [None, {}, [], 0, {"w": 1.0}, ["tensor", "optimizer"]], ids=repr)
@each_prefetch
def test_row_descriptor_any_object_comes_as_it_is(spec, prefetch):
    batch_class, runs = make_class(lambda: spec)
    run = of(batch_class).p.train_model(session="sess").gen_batch(2, prefetch=prefetch)
    assert all(batch.got_to_train[0] is spec for batch in run)
    assert len(runs) == 1


class ModuleOfItsOwn:
    """A model with the words of a framework that nobody here knows, as an mxnet module was."""

    def __init__(self):
        self.bound, self.steps = False, 0

    def bind(self):
        self.bound = True

    def forward_backward(self, data):
        assert self.bound
        self.steps += len(data)


def test_row_descriptor_a_module_of_any_framework():
    class MyArrayBatch(ArrayBatch):
        @model()
        def module():
            module = ModuleOfItsOwn()
            module.bind()
            return module

        @action(model="module", singleton=True)
        def train_it(self, module):
            module.forward_backward(self.data)
            return self

    of(MyArrayBatch).p.train_it().run(3, prefetch=2)
    assert MyArrayBatch.models["module"].steps == 8


# ---- "@action(model='basic_model')"


@each_prefetch
def test_row_action_gets_the_descriptor_first_and_the_rest_from_the_chain(prefetch):
    spec, sess = object(), object()
    batch_class, _ = make_class(lambda: spec)
    for batch in of(batch_class).p.train_model(session=sess).gen_batch(2, prefetch=prefetch):
        assert batch.got_to_train == (spec, sess)


@each_prefetch
def test_row_several_actions_on_one_model_get_the_same_object(prefetch):
    batch_class, _ = make_class(object)
    chain = of(batch_class).p.train_model(session=1).evaluate_model(session=1)
    for batch in chain.gen_batch(2, prefetch=prefetch):
        assert batch.got_to_train[0] is batch.got_to_evaluate[0]


def test_row_without_a_singleton_actions_run_concurrently():
    meeting = threading.Barrier(4)

    class MyArrayBatch(make_class()[0]):
        @action(model="basic_model")
        def meet(self, model_spec):
            meeting.wait(20)
            return self

    with does_not_raise():
        of(MyArrayBatch).p.meet().run(2, prefetch=4)


# ---- "singleton which allows only one concurrent execution"


@each_prefetch
def test_row_singleton_one_batch_at_a_time_in_order(prefetch):
    numbers, room = [], Room()

    def train(number):
        room.visit()
        numbers.append(number)

    of(make_class()[0]).p.train_it(sess=train).run(1, prefetch=prefetch)
    assert (numbers, room.most) == (list(range(8)), 1)


def test_row_singleton_two_pipelines_on_one_model_take_turns():
    batch_class, room = make_class()[0], Room()
    pipelines = [of(batch_class).p.train_it(sess=lambda _: room.visit()) for _ in range(3)]
    in_threads(*(lambda p=p: p.run(2, prefetch=2) for p in pipelines))
    assert (room.visits, room.most) == (12, 1)


@each_prefetch
def test_row_singleton_is_free_again_after_an_exception(prefetch):
    def fail(number):
        raise OSError(f"at {number}")

    batch_class, numbers = make_class()[0], []
    with pytest.raises(OSError, match="at 0"):
        of(batch_class).p.train_it(sess=fail).run(2, prefetch=prefetch)
    in_threads(lambda: of(batch_class).p.train_it(sess=numbers.append).run(2, prefetch=prefetch))
    assert numbers == [0, 1, 2, 3]
