"""Model definitions and the model directory: when they are made, by whom, for how long."""

import contextlib
import gc
import threading
import weakref

import pytest
from own_process import run_alone

from batchflow import (
    Batch,
    Dataset,
    ModelDefinitionError,
    UnknownNameError,
    action,
    model,
)

DEADLINE = 20


class Base(Batch):
    @model()
    def counter():
        return {"made": 1}

    @model(mode="dynamic")
    def from_batch(batch):
        return {"first": batch.number, "ids": batch.indices.tolist()}

    @action(model="counter")
    def use(self, counter, *extra, **named):
        self.got = counter, extra, named
        return self

    @action(model="counter", singleton=True)
    def train(self, counter):
        counter.setdefault("trained", []).append(self.number)
        return self

    @action(model="from_batch")
    def use_dynamic(self, descriptor):
        self.got = descriptor
        return self


@pytest.fixture
def fresh():
    """A class whose definition has not run yet, and the list of its runs."""

    class Fresh(Batch):
        made = []

        @model()
        def net():
            Fresh.made.append(threading.current_thread())
            return object()

        @action(model="net")
        def use(self, net):
            self.got = net
            return self

        @action
        def touch(self):
            return self

    return Fresh


# ---- the decorator


def test_model_without_parentheses_is_a_type_error_that_shows_the_fix():
    with pytest.raises(TypeError, match=r"write @model\(\) above def net"):

        @model
        def net():
            pass


@pytest.mark.parametrize("mode", ["statik", 3, None, True], ids=repr)
def test_a_mode_is_static_or_dynamic(mode):
    with pytest.raises(ModelDefinitionError, match=r'"static" or "dynamic"'):
        model(mode=mode)


@pytest.mark.parametrize(
    "definition",
    [lambda self: 0, lambda a, b: 0, lambda *args: 0, lambda x=1: 0, lambda *, x: 0],
    ids=["self", "two", "star", "default", "keyword"],
)
def test_a_static_definition_with_parameters_is_refused_with_both_fixes(definition):
    with pytest.raises(ModelDefinitionError, match=r'def .*\(\):.*@model\(mode="dynamic"\)'):
        model()(definition)


@pytest.mark.parametrize(
    "definition", [lambda: 0, lambda self, batch: 0], ids=["none", "self and batch"]
)
def test_a_dynamic_definition_takes_the_batch_and_nothing_else(definition):
    with pytest.raises(ModelDefinitionError, match=r"one argument, the first batch"):
        model(mode="dynamic")(definition)


@pytest.mark.parametrize("wrong", [5, len, object], ids=repr)
def test_a_definition_is_a_function(wrong):
    with pytest.raises(ModelDefinitionError, match="marks a method"):
        model()(wrong)


# ---- static: when


def test_defining_a_class_makes_no_model(fresh):
    assert fresh.made == []


def test_chaining_makes_no_model(fresh):
    Dataset(2, fresh).p.use().gen_batch(1)
    assert fresh.made == []


def test_the_first_need_makes_it_once(fresh):
    assert fresh.models["net"] is fresh.models["net"]
    assert len(fresh.made) == 1


def test_a_run_that_does_not_need_it_does_not_make_it(fresh):
    Dataset(2, fresh).p.touch().run(1)
    assert fresh.made == []


def test_a_run_makes_it_in_the_thread_that_asks_for_the_first_batch(fresh):
    Dataset(4, fresh).p.use().run(1, prefetch=3)
    assert fresh.made == [threading.current_thread()]


def test_a_run_makes_it_before_its_first_batch(fresh):
    class Early(fresh):
        def __init__(self, index):
            super().__init__(index)
            self.made_before = len(fresh.made)

    assert [b.made_before for b in Dataset(2, Early).p.use().gen_batch(1)] == [1, 1]


def test_all_runs_and_actions_get_the_same_descriptor(fresh):
    dataset = Dataset(3, fresh)
    got = [b.got for p in (dataset.p.use(), dataset.p.touch().use()) for b in p.gen_batch(1)]
    assert {id(g) for g in got} == {id(fresh.models["net"])}


@pytest.mark.parametrize("descriptor", [None, {}, 0, [], ""], ids=repr)
def test_any_object_is_a_descriptor(descriptor):
    made = []

    class Mine(Batch):
        @model()
        def net():
            made.append(0)
            return descriptor

    assert [Mine.models["net"] is descriptor for _ in range(2)] == [True, True]
    assert len(made) == 1


# ---- static: calls


def test_calling_a_definition_gives_the_descriptor_of_the_directory(fresh):
    assert fresh.net() is fresh.models["net"]


def test_calling_a_definition_through_a_batch_gives_the_same(fresh):
    assert fresh(1).net() is fresh.models["net"]


def test_calling_a_definition_never_builds_a_second_model(fresh):
    fresh.net()
    fresh.net()
    assert len(fresh.made) == 1


def test_calling_a_dynamic_definition_says_whom_to_ask():
    with pytest.raises(ModelDefinitionError, match=r'pipeline\.models\["from_batch"\]'):
        Base.from_batch()


def test_get_model_by_name_gives_the_descriptor(fresh):
    batch = next(Dataset(1, fresh).p.touch().gen_batch(1))
    assert batch.get_model_by_name("net") is fresh.models["net"]


def test_get_model_by_name_works_outside_a_run(fresh):
    assert fresh(1).get_model_by_name("net") is fresh.models["net"]


# ---- the directory


def test_names_are_sorted():
    assert Base.models.names == ("counter", "from_batch")


def test_a_class_without_models_has_no_names():
    assert Batch.models.names == ()


def test_in_tells_which_models_there_are():
    assert ["counter" in Base.models, "conter" in Base.models] == [True, False]


@pytest.mark.parametrize("ask", [lambda d: d["conter"], lambda d: d.reset("conter")])
def test_an_unknown_model_is_a_key_error_with_the_right_name(ask):
    with pytest.raises(UnknownNameError, match=r"Base has no model 'conter'.*'counter'"):
        ask(Base.models)


def test_a_dynamic_model_is_not_in_the_class():
    with pytest.raises(ModelDefinitionError, match=r'pipeline\.models\["from_batch"\]'):
        Base.models["from_batch"]


def test_repr_tells_what_is_made(fresh):
    before = repr(fresh.models)
    fresh.net()
    assert (before, repr(fresh.models)) == (
        "Fresh.models(net: not made yet)",
        "Fresh.models(net: made)",
    )


def test_reset_forgets_the_descriptor(fresh):
    old = fresh.net()
    fresh.models.reset("net")
    assert fresh.net() is not old


def test_a_run_under_way_keeps_its_descriptor_after_a_reset(fresh):
    run = Dataset(3, fresh).p.use().gen_batch(1)
    first = next(run).got
    fresh.models.reset("net")
    assert [b.got is first for b in run] == [True, True]


def test_reset_before_anything_was_made_does_no_harm(fresh):
    fresh.models.reset("net")
    assert fresh.net() is fresh.net()


def test_reset_of_one_model_leaves_the_others():
    class Two(Batch):
        @model()
        def a():
            return object()

        @model()
        def b():
            return object()

    kept = Two.b()
    Two.models.reset("a")
    assert Two.b() is kept


def test_reset_frees_the_descriptor():
    class Thing:
        pass

    class Mine(Batch):
        @model()
        def net():
            return Thing()

    alive = weakref.ref(Mine.net())
    Mine.models.reset("net")
    gc.collect()
    assert alive() is None


# ---- inheritance


def test_a_subclass_shares_the_parents_descriptor(fresh):
    child = type("Child", (fresh,), {})
    assert child.models["net"] is fresh.models["net"]


def test_the_subclass_may_be_the_first_to_need_it(fresh):
    child = type("Child", (fresh,), {})
    descriptor = child.net()
    assert fresh.net() is descriptor


def test_reset_through_a_subclass_forgets_it_for_both(fresh):
    child = type("Child", (fresh,), {})
    old = fresh.net()
    child.models.reset("net")
    assert (fresh.net() is old, fresh.net() is child.net()) == (False, True)


def test_a_subclass_that_redefines_it_has_its_own():
    class Child(Base):
        @model()
        def counter():
            return "child's"

    assert (Child.models["counter"], Base.models["counter"]["made"]) == ("child's", 1)


def test_an_inherited_action_gets_the_redefined_model():
    class Child(Base):
        @model()
        def counter():
            return "child's"

    assert next(Dataset(1, Child).p.use().gen_batch(1)).got[0] == "child's"


def test_a_redefinition_may_ask_for_the_parents_model(fresh):
    class Child(fresh):
        @model()
        def net():
            return "around", fresh.net()

    assert Child.net() == ("around", fresh.net())


def test_a_redefinition_may_change_the_mode():
    class Child(Base):
        @model(mode="dynamic")
        def counter(batch):
            return batch.number

    assert [b.got[0] for b in Dataset(2, Child).p.use().gen_batch(1)] == [0, 0]


def test_redefining_it_as_something_else_takes_it_away():
    child = type("Child", (Base,), {"counter": None})
    assert "counter" not in child.models


def test_in_a_diamond_the_model_is_the_definition_that_python_finds():
    class Top(Batch):
        @model()
        def net():
            return "top"

    class Left(Top):
        pass

    class Right(Top):
        @model()
        def net():
            return "right"

    class Bottom(Left, Right):
        pass

    assert Bottom.models["net"] == "right"


def test_models_of_a_mixin_that_is_no_batch_are_collected():
    class Mixin:
        @model()
        def net():
            return "mixin's"

    class Mixed(Mixin, Batch):
        pass

    assert Mixed.models["net"] == "mixin's"


# ---- definitions that raise, or ask for each other


def test_a_definition_that_raises_passes_its_own_exception():
    failure = OSError("no weights")

    class Failing(Batch):
        @model()
        def net():
            raise failure

    with pytest.raises(OSError, match="no weights") as caught:
        Failing.net()
    assert caught.value is failure


def test_a_definition_that_raises_ends_the_run_with_its_exception():
    failure = OSError("no weights")

    class Failing(Batch):
        @model()
        def net():
            raise failure

        @action(model="net")
        def use(self, net):
            return self

    with pytest.raises(OSError, match="no weights") as caught:
        Dataset(2, Failing).p.use().run(1, prefetch=2)
    assert caught.value is failure


def test_a_definition_that_raised_runs_again_at_the_next_need():
    runs = []

    class Flaky(Batch):
        @model()
        def net():
            runs.append(0)
            if len(runs) == 1:
                raise OSError("once")
            return "there"

    with pytest.raises(OSError, match="once"):
        Flaky.net()
    assert (Flaky.net(), len(runs)) == ("there", 2)


def _ask_from_threads(ask, n_threads, n_waiting, release):
    """Call `ask` from threads; when `n_waiting()` of them wait, call `release`."""
    results = []

    def work():
        try:
            results.append(ask())
        except Exception as error:
            results.append(error)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(n_threads)]
    for thread in threads:
        thread.start()
    pause, rounds = threading.Event(), 0
    while n_waiting() < n_threads - 1 and rounds < DEADLINE * 1000:
        pause.wait(0.001)
        rounds += 1
    release()
    for thread in threads:
        thread.join(DEADLINE)
    return results


def _waiting(batch_class, name):
    """How many threads wait for a model: who waits on a future stands in its condition's queue."""
    made = batch_class.models.definition(name).slot._made
    return 0 if made is None else len(made._condition._waiters)


def test_threads_that_wait_for_a_model_get_the_same_descriptor():
    go = threading.Event()

    class Slow(Batch):
        @model()
        def net():
            go.wait(DEADLINE)
            return object()

    got = _ask_from_threads(Slow.net, 5, lambda: _waiting(Slow, "net"), go.set)
    assert (len(got), len({id(g) for g in got})) == (5, 1)


def test_threads_that_wait_for_a_definition_that_raises_get_the_same_exception():
    go = threading.Event()
    runs = []

    class Slow(Batch):
        @model()
        def net():
            runs.append(0)
            go.wait(DEADLINE)
            raise OSError("no weights")

    got = _ask_from_threads(Slow.net, 5, lambda: _waiting(Slow, "net"), go.set)
    assert (len(got), len({id(g) for g in got}), type(got[0])) == (5, 1, OSError)
    assert len(runs) == 1


def test_after_threads_have_seen_it_raise_the_next_need_tries_again():
    go = threading.Event()
    runs = []

    class Slow(Batch):
        @model()
        def net():
            runs.append(0)
            if len(runs) > 1:
                return "there"
            go.wait(DEADLINE)
            raise OSError("once")

    _ask_from_threads(Slow.net, 3, lambda: _waiting(Slow, "net"), go.set)
    assert (Slow.net(), len(runs)) == ("there", 2)


def test_a_definition_may_ask_for_another_model():
    class Two(Batch):
        @model()
        def body():
            return "body"

        @model()
        def head():
            return "head on", Two.body()

    assert Two.head() == ("head on", "body")


def test_a_definition_that_asks_for_itself_is_refused():
    class Selfish(Batch):
        @model()
        def net():
            return Selfish.net()

    with pytest.raises(ModelDefinitionError, match="'net' asks for 'net' itself"):
        Selfish.net()


def test_definitions_that_ask_for_each_other_are_refused():
    class Two(Batch):
        @model()
        def a():
            return Two.b()

        @model()
        def b():
            return Two.a()

    with pytest.raises(ModelDefinitionError):
        Two.a()


def test_a_thread_that_made_a_model_may_ask_for_one_that_needs_it():
    """While the first thread makes `body`, a second one makes `head` and waits for `body`."""
    body_began, failed = threading.Event(), []

    class Two(Batch):
        @model()
        def body():
            body_began.set()
            pause, rounds = threading.Event(), 0
            while not _waiting(Two, "body") and rounds < DEADLINE * 1000:
                pause.wait(0.001)
                rounds += 1
            return "body"

        @model()
        def head():
            return "head on", Two.body()

    def ask(*definitions):
        try:
            for definition in definitions:
                definition()
        except Exception as error:
            failed.append(error)

    first = threading.Thread(target=ask, args=(Two.body, Two.head), daemon=True)
    first.start()
    body_began.wait(DEADLINE)
    second = threading.Thread(target=ask, args=(Two.head,), daemon=True)
    second.start()
    for thread in (first, second):
        thread.join(DEADLINE)
    assert (failed, Two.models["head"]) == ([], ("head on", "body"))


def test_definitions_that_ask_for_each_other_from_two_threads_do_not_hang():
    script = """
        import threading
        from batchflow import Batch, model

        both_are_in = threading.Barrier(2, timeout=10)

        class Two(Batch):
            @model()
            def a():
                both_are_in.wait()
                return Two.b()

            @model()
            def b():
                both_are_in.wait()
                return Two.a()

        def ask(name):
            try:
                Two.models[name]
            except Exception:
                pass

        threads = [threading.Thread(target=ask, args=(n,), daemon=True) for n in "ab"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(1)
        print([thread.is_alive() for thread in threads])
    """
    assert run_alone(script, timeout=60).stdout.strip() == "[False, False]"


# ---- actions on models


def test_a_model_comes_first_after_self_and_the_rest_from_the_chain():
    counter, extra, named = next(Dataset(1, Base).p.use(1, 2, key=3).gen_batch(1)).got
    assert (counter["made"], extra, named) == (1, (1, 2), {"key": 3})


def test_several_actions_share_one_descriptor():
    class Mine(Base):
        @model()
        def counter():
            return {}

    Dataset(3, Mine).p.train().use().train().run(1, prefetch=2)
    assert Mine.models["counter"]["trained"] == [0, 0, 1, 1, 2, 2]


def test_a_model_that_no_class_defines_is_refused_when_chained():
    class Mine(Base):
        @action(model="conter")
        def wrong(self, counter):
            return self

    with pytest.raises(UnknownNameError, match=r"no model 'conter'.*Did you mean 'counter'"):
        Dataset(1, Mine).p.wrong()


def test_an_action_on_a_model_must_have_a_place_for_it():
    class Mine(Base):
        @action(model="counter")
        def wrong(self):
            return self

    with pytest.raises(TypeError, match=r"wrong\(self\).* the model 'counter' is given"):
        Dataset(1, Mine).p.wrong()


def test_the_model_cannot_be_given_in_the_chain():
    with pytest.raises(TypeError, match=r"multiple values.*'counter'"):
        Dataset(1, Base).p.use(counter=1)


# ---- dynamic


def test_a_dynamic_model_is_made_from_the_first_batch():
    got = [b.got for b in Dataset(list("abc"), Base).p.use_dynamic().gen_batch(1, prefetch=3)]
    assert got == [{"first": 0, "ids": ["a"]}] * 3


def test_a_dynamic_model_is_made_once_per_pipeline_value():
    pipeline = Dataset(2, Base).p.use_dynamic()
    one = next(pipeline.gen_batch(1)).got
    assert next(pipeline.gen_batch(1)).got is one


def test_two_pipeline_values_have_two_dynamic_models():
    dataset = Dataset(2, Base)
    one, two = (next(dataset.p.use_dynamic().gen_batch(1)).got for _ in range(2))
    assert (one == two, one is two) == (True, False)


def test_a_chained_value_makes_its_own_dynamic_model():
    pipeline = Dataset(2, Base).p.use_dynamic()
    one = next(pipeline.gen_batch(1)).got
    assert next(pipeline.use_dynamic().gen_batch(1)).got is not one


def test_the_pipeline_gives_its_dynamic_model():
    pipeline = Dataset(2, Base).p.use_dynamic()
    got = next(pipeline.gen_batch(1)).got
    assert pipeline.models["from_batch"] is got


def test_the_pipeline_gives_static_models_too():
    assert Dataset(2, Base).p.models["counter"] is Base.models["counter"]


def test_a_dynamic_model_before_the_first_batch_is_a_key_error_in_words():
    with pytest.raises(UnknownNameError, match="first batch"):
        Dataset(2, Base).p.use_dynamic().models["from_batch"]


def test_asking_too_early_does_not_spoil_the_model():
    pipeline = Dataset(2, Base).p.use_dynamic()
    with pytest.raises(UnknownNameError):
        pipeline.models["from_batch"]
    assert next(pipeline.gen_batch(1)).got["first"] == 0


def test_asking_too_early_from_another_thread_does_not_fail_the_run(monkeypatch):
    """The question is held up until the run, too, has come to the model, or has gone by."""
    from batchflow.engine.preparation import models

    pipeline = Dataset(2, Base).p.use_dynamic()
    asking, done = threading.Event(), threading.Event()

    def held_up(message):
        asking.set()
        rounds = 0
        while not (done.wait(0.001) or _waits_on(pipeline) or rounds > DEADLINE * 1000):
            rounds += 1
        return UnknownNameError(message)

    def ask():
        with contextlib.suppress(UnknownNameError):
            pipeline.models["from_batch"]

    monkeypatch.setattr(models, "UnknownNameError", held_up)
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    assert asking.wait(DEADLINE)
    try:
        got = [batch.got["first"] for batch in pipeline.gen_batch(1)]
    finally:
        done.set()
        thread.join(DEADLINE)
    assert got == [0, 0]


def _waits_on(pipeline):
    made = pipeline._state.model_slot("from_batch")._made
    return made is not None and len(made._condition._waiters) > 0


def test_reset_models_lets_the_next_run_make_a_new_one():
    pipeline = Dataset(2, Base).p.use_dynamic()
    one = next(pipeline.gen_batch(1)).got
    pipeline.reset("models")
    assert next(pipeline.gen_batch(1)).got is not one


def test_a_dynamic_definition_that_raises_says_where_and_is_tried_again():
    runs = []

    class Flaky(Batch):
        @model(mode="dynamic")
        def net(batch):
            runs.append(batch.number)
            if len(runs) == 1:
                raise OSError("once")
            return "there"

        @action(model="net")
        def use(self, net):
            self.got = net
            return self

    pipeline = Dataset(2, Flaky).p.use()
    with pytest.raises(OSError, match="once") as caught:
        pipeline.run(1)
    assert any("'use'" in note for note in caught.value.__notes__)
    assert next(pipeline.gen_batch(1)).got == "there"


def test_steps_on_a_dynamic_model_are_ordered():
    assert "ordered section" in repr(Dataset(2, Base).p.use_dynamic())


# ---- nothing is kept alive


def test_a_class_and_its_descriptor_go_when_nobody_holds_them():
    class Thing:
        pass

    def define():
        class Cell(Batch):
            @model()
            def net():
                return Thing()

            @action(model="net", singleton=True)
            def train(self, net):
                return self

        Dataset(4, Cell).p.train().run(1, prefetch=2)
        return weakref.ref(Cell), weakref.ref(Cell.net())

    alive = define()
    gc.collect()
    assert [ref() for ref in alive] == [None, None]


def test_a_class_whose_definition_raised_goes_too():
    def define():
        class Cell(Batch):
            @model()
            def net():
                raise OSError

        with pytest.raises(OSError):
            Cell.net()
        return weakref.ref(Cell)

    alive = define()
    gc.collect()
    assert alive() is None


def test_a_pipeline_goes_with_its_variables_and_dynamic_models():
    class Thing:
        pass

    class Mine(Batch):
        @model(mode="dynamic")
        def net(batch):
            return Thing()

        @action(model="net")
        def use(self, net):
            return self

    def define():
        pipeline = Dataset(4, Mine).p.init_variable("v", init=Thing).use()
        pipeline.run(1, prefetch=2)
        return [weakref.ref(x) for x in (pipeline, pipeline.v("v"), pipeline.models["net"])]

    alive = define()
    gc.collect()
    assert [ref() for ref in alive] == [None, None, None]


def test_a_pipeline_with_an_open_next_batch_goes_too():
    def define():
        pipeline = Dataset(8, Base).p.train()
        pipeline.next_batch(1, prefetch=2)
        return weakref.ref(pipeline)

    alive = define()
    gc.collect()
    assert alive() is None
