"""`train_model(..., steps_per_call=k)`: k batches of an epoch in one call, nothing else changes."""

import gc
import weakref

import numpy as np
import pytest

from batchflow import (
    ArgumentTypeError,
    ArgumentValueError,
    ArrayBatch,
    B,
    Dataset,
    Pipeline,
    R,
    SkipBatch,
    StopPipeline,
    V,
    action,
    model,
)
from batchflow.models import calls

from .conftest import each_prefetch

N_ITEMS, SIZE = 70, 4  # 18 batches in an epoch, the last one of 2 items


class Net:
    def __init__(self):
        self.weight, self.seen = 0.0, []

    def train(self, x, number=None, fail_at=None):
        if number is not None and number == fail_at:
            raise ArithmeticError(f"batch {number} is bad")
        self.weight = 0.5 * self.weight + float(np.sum(x))
        self.seen.append(number)
        return self.weight


class Rows(ArrayBatch):
    components = "rows"
    seen = ()  # of each instance: what it went through

    @model()
    def kept():
        return Net()

    @model(mode="dynamic")
    def made(batch):
        net = Net()
        net.weight = float(batch.number)
        return net

    @action
    def add_noise(self):
        self.rows = self.rows + self.rng.normal(size=self.rows.shape)
        return self

    @action
    def skip(self, numbers):
        if self.number in numbers:
            raise SkipBatch
        return self

    @action(singleton=True)
    def skip_in_order(self, numbers):
        return self.skip(numbers)

    @action(singleton=True)
    def note(self, notes, what):
        notes.append((what, self.number))
        return self

    @action(singleton=True)
    def stop_at(self, number, *, error=StopPipeline):
        if self.number == number:
            raise error
        return self

    @action(model="kept", singleton=True)
    def look(self, net):
        self.weight = net.weight
        return self


@pytest.fixture
def dataset():
    rows = np.arange(3.0 * N_ITEMS).reshape(N_ITEMS, 3)
    return Dataset.from_arrays(Rows, rows=rows)


def training(dataset, k, net="net", **kwargs):
    """A pipeline that trains and saves every loss."""
    p = dataset.p.init_model("net", Net).init_variable("losses", init=list).add_noise()
    given = {"save_to": V("losses", mode="a"), **kwargs}
    return p.train_model(net, B.rows, B.number, steps_per_call=k, **given)


@pytest.fixture
def group_sizes(monkeypatch):
    """The sizes of the calls for several batches that are made."""
    sizes = []
    several = calls.train_several

    def counting(model, given, *args, **kwargs):
        sizes.append(len(given))
        return several(model, given, *args, **kwargs)

    monkeypatch.setattr(calls, "train_several", counting)
    monkeypatch.setattr(calls, "trains_several", lambda model: True)
    return sizes


@each_prefetch
@pytest.mark.parametrize("k", [1, 2, 3, 8, 18, 100])
def test_weights_and_losses_are_those_of_single_steps(dataset, k, prefetch):
    options = {"batch_size": SIZE, "seed": 5, "shuffle": True, "n_epochs": 3}
    single = training(dataset, 1).run(**options)
    grouped = training(dataset, k).run(prefetch=prefetch, **options)
    assert grouped.v("losses") == single.v("losses")
    assert grouped.m("net").seen == single.m("net").seen == list(range(54))
    assert grouped.m("net").weight == single.m("net").weight


def test_a_group_never_crosses_the_border_of_an_epoch_and_the_rest_is_single(dataset, group_sizes):
    training(dataset, 8).run(batch_size=SIZE, n_epochs=2)
    assert group_sizes == [8, 8, 8, 8]


@each_prefetch
@pytest.mark.parametrize("skip", ["skip", "skip_in_order"])
def test_skipped_batches_leave_groups_full(dataset, group_sizes, skip, prefetch):
    gone = [0, 3, 4, 17, 18, 35]  # the last of both epochs among them
    p = dataset.p.init_model("net", Net)
    p = getattr(p, skip)(gone).train_model("net", B.rows, B.number, steps_per_call=6)
    run = p.gen_batch(batch_size=SIZE, n_epochs=2, prefetch=prefetch)
    kept = [n for n in range(36) if n not in gone]
    assert [batch.number for batch in run] == kept
    assert p.m("net").seen == kept
    assert group_sizes == [6, 6, 6, 6]


@each_prefetch
def test_a_group_is_delivered_when_it_has_been_trained_on_and_none_behind_it_begun(
    dataset, prefetch
):
    notes = []
    p = dataset.p.init_model("net", Net).note(notes, "before")
    p = p.train_model("net", B.rows, B.number, steps_per_call=4)
    with p.gen_batch(batch_size=SIZE, prefetch=prefetch) as run:
        for batch in run:
            end = 4 * (batch.number // 4) + 4
            if batch.number < 16:
                assert p.m("net").seen == list(range(end))
                assert notes == [("before", n) for n in range(end)]
            if batch.number == 9:
                break
    assert p.m("net").seen == list(range(12))


@each_prefetch
def test_what_follows_runs_when_its_batch_is_asked_for(dataset, prefetch):
    notes = []
    p = dataset.p.init_model("net", Net)
    p = p.train_model("net", B.rows, steps_per_call=4).note(notes, "behind")
    for batch in p.gen_batch(batch_size=SIZE, prefetch=prefetch):
        assert notes[-1] == ("behind", batch.number)
        assert len(notes) == batch.number + 1


@each_prefetch
@pytest.mark.parametrize("error", [StopPipeline, ArithmeticError])
@pytest.mark.parametrize("number", [0, 5, 8])
def test_the_batches_before_an_end_are_trained_on_and_delivered(dataset, error, number, prefetch):
    p = dataset.p.init_model("net", Net).stop_at(number, error=error)
    p = p.train_model("net", B.rows, B.number, steps_per_call=4)
    run, got = p.gen_batch(batch_size=SIZE, prefetch=prefetch), []
    if error is StopPipeline:
        got.extend(batch.number for batch in run)
    else:
        with pytest.raises(error) as raised:
            got.extend(batch.number for batch in run)
        assert any(f"batch {number}," in note for note in raised.value.__notes__)
    assert got == list(range(number))
    assert (p.m("net").seen if got else []) == got


@each_prefetch
def test_an_end_behind_the_group_leaves_its_model_at_the_border_of_the_group(dataset, prefetch):
    p = dataset.p.init_model("net", Net)
    p = p.train_model("net", B.rows, B.number, steps_per_call=4).stop_at(5)
    run = p.gen_batch(batch_size=SIZE, prefetch=prefetch)
    assert [batch.number for batch in run] == list(range(5))
    assert p.m("net").seen == list(range(8))


@each_prefetch
def test_an_error_of_an_action_ahead_comes_at_its_turn(dataset, prefetch):
    def fails(rows):
        if rows[0, 0] == 6 * SIZE * 3:
            raise ArithmeticError
        return rows

    p = dataset.p.init_model("net", Net).call(fails, B.rows)
    p = p.train_model("net", B.rows, B.number, steps_per_call=4)
    got = []
    with pytest.raises(ArithmeticError):
        got.extend(batch.number for batch in p.gen_batch(batch_size=SIZE, prefetch=prefetch))
    assert got == p.m("net").seen == list(range(6))


def test_an_error_of_the_call_names_all_its_batches_and_how_to_make_one_again(dataset, group_sizes):
    p = dataset.p.init_model("net", Net)
    p = p.train_model("net", B.rows, B.number, fail_at=5, steps_per_call=4)
    run, got = p.gen_batch(batch_size=SIZE, seed=1), []
    with pytest.raises(ArithmeticError) as raised:
        got.extend(batch.number for batch in run)
    notes = "\n".join(raised.value.__notes__)
    assert got == [0, 1, 2, 3]
    assert "in the action 'train_model', chained at" in notes
    assert "in one call for the batches 4, 5, 6, 7" in notes
    assert "replay" in notes


def test_an_error_of_a_single_step_names_its_batch(dataset):
    p = dataset.p.init_model("net", Net)
    p = p.train_model("net", B.rows, B.number, fail_at=5, steps_per_call=4)
    run, got = p.gen_batch(batch_size=SIZE, seed=1), []
    with pytest.raises(ArithmeticError) as raised:
        got.extend(batch.number for batch in run)
    assert got == p.m("net").seen == list(range(5))
    assert any("batch 5, epoch 0" in note for note in raised.value.__notes__)


def test_an_argument_that_cannot_be_resolved_names_its_batch(dataset):
    p = dataset.p.init_model("net", Net).train_model("net", B.nothing, steps_per_call=4)
    with pytest.raises(AttributeError) as raised:
        p.run(batch_size=SIZE)
    notes = "\n".join(raised.value.__notes__)
    assert "while B.nothing was resolved" in notes
    assert "batch 0, epoch 0" in notes


def test_random_arguments_are_those_of_single_steps(dataset):
    def made(k):
        p = dataset.p.init_model("net", Net).init_variable("losses", init=list)
        p = p.train_model("net", R("normal", size=3), steps_per_call=k, save_to=V("losses", "a"))
        return p.run(batch_size=SIZE, seed=3).v("losses")

    assert made(5) == made(1)


def test_losses_can_be_saved_in_the_batch_and_used_behind(dataset):
    p = dataset.p.init_model("net", Net).init_variable("sums", init=list)
    p = p.train_model("net", B.rows, steps_per_call=4, save_to=B.loss)
    p = p.update(V("sums", mode="a"), B.loss)
    losses = [batch.loss for batch in p.gen_batch(batch_size=SIZE)]
    assert losses == p.v("sums")
    assert len(set(losses)) == 18


def test_a_dynamic_model_is_made_from_the_first_batch(dataset):
    def weight(k):
        p = dataset.p.train_model("made", B.rows, steps_per_call=k).run(batch_size=SIZE)
        return p.m("made").weight

    assert weight(4) == weight(1)


@each_prefetch
def test_it_groups_behind_a_regrouping(dataset, group_sizes, prefetch):
    def trained(k):
        p = dataset.p.init_model("net", Net).rebatch(10)
        p = p.train_model("net", B.rows, B.number, steps_per_call=k)
        return p.run(batch_size=SIZE, n_epochs=2, prefetch=prefetch).m("net")

    assert trained(3).weight == trained(1).weight
    assert group_sizes == [3, 3, 3, 3]


def test_two_models_are_trained_in_groups_one_behind_the_other(dataset, group_sizes):
    def trained(k):
        p = dataset.p.init_model("one", Net).init_model("two", Net)
        p = p.train_model("one", B.rows, steps_per_call=k, save_to=B.loss)
        p = p.train_model("two", B.loss, steps_per_call=k).run(batch_size=SIZE)
        return p.m("one").weight, p.m("two").weight

    assert trained(5) == trained(1)
    assert group_sizes == [5] * 6


def test_one_batch_alone_takes_a_single_step(dataset):
    p = training(dataset, 8)
    p.execute_for(next(dataset.p.gen_batch(batch_size=SIZE)))
    assert len(p.v("losses")) == 1


def test_the_chain_may_run_its_own_model_ahead(dataset):
    """An action ahead runs a pipeline on the model: it may not find the model's lock held."""
    inner = dataset.p.look()

    def asks(rows):
        return inner.next_batch(SIZE, n_epochs=None).weight

    p = dataset.p.call(asks, B.rows, save_to=B.asked)
    p = p.train_model("kept", B.rows, steps_per_call=4)
    assert len(list(p.gen_batch(batch_size=SIZE, prefetch=2))) == 18
    inner.reset("iter")


def test_batches_that_were_delivered_are_not_kept(dataset):
    p = dataset.p.init_model("net", Net).train_model("net", B.rows, steps_per_call=6)
    run = p.gen_batch(batch_size=SIZE, n_epochs=2)
    old = [weakref.ref(next(run)) for _ in range(3)]
    gc.collect()
    assert [ref() for ref in old[:2]] == [None, None]
    run.close()


# ---- refusals


@pytest.mark.parametrize("k", [0, -1, 2.0, "8", None, True, V("k")], ids=repr)
def test_steps_per_call_is_a_whole_number_from_1_on(dataset, k):
    with pytest.raises(ArgumentTypeError, match="steps_per_call is a whole number from 1 on"):
        training(dataset, k)


def losses(p):
    return p.init_model("net", Net).init_variable("loss").init_variable("n", 0)


def train(p, k=4, **kwargs):
    return p.train_model("net", B.rows, steps_per_call=k, **kwargs)


REFUSED = {
    "the model is used behind": (
        lambda p: train(losses(p)).predict_model("net", B.rows, save_to=B.x),
        "the model 'net'",
    ),
    "the model is used before": (
        lambda p: train(losses(p).save_model("net", "never.written")),
        "the model 'net'",
    ),
    "the model is trained twice": (lambda p: train(train(losses(p))), "the model 'net'"),
    "it reads what a step before it writes": (
        lambda p: losses(p).update(V("n"), V("n") + 1).train_model("net", V("n"), steps_per_call=4),
        "the variable 'n'",
    ),
    "the loss is read behind": (
        lambda p: train(losses(p), save_to=V("loss")).print(V("loss")),
        "the variable 'loss'",
    ),
    "the loss is read before": (
        lambda p: train(losses(p).print(V("loss")), save_to=V("loss")),
        "the variable 'loss'",
    ),
    "a variable is written behind and read by it": (
        lambda p: losses(p).train_model("net", V("n"), steps_per_call=4).update(V("n"), V("n") + 1),
        "the variable 'n'",
    ),
    "a variable is written before and read behind": (
        lambda p: train(losses(p).update(V("n"), V("n") + 1)).print(V("n")),
        "the variable 'n'",
    ),
    "ordered actions stand on both sides": (
        lambda p: train(losses(p).note([], "a")).note([], "b"),
        "state of their own",
    ),
    "an ordered pipeline is joined behind an ordered action": (
        lambda p: train(losses(p).note([], "a")).join(p.note([], "c")).call(len),
        "state of their own",
    ),
    "it is left to a coin": (
        lambda p: losses(p) + train(Pipeline()) @ 0.5,
        "is left to the coin",
    ),
    "another group is larger": (
        lambda p: train(train(losses(p)).init_model("b", Net), 4).train_model(
            "b", B.rows, steps_per_call=5
        ),
        "give both the same",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_it_is_refused_before_a_batch_is_made_where(case, dataset):
    make, message = REFUSED[case]
    p = make(dataset.p)
    with pytest.raises(ArgumentValueError, match=message) as raised:
        p.gen_batch(batch_size=SIZE)
    assert "test_steps_per_call.py:" in str(raised.value)


def test_single_steps_are_never_refused(dataset):
    p = train(train(losses(dataset.p), 1), 1).predict_model
    p = train(train(losses(dataset.p).note([], "a"), 1).note([], "b"), 1)
    p.run(batch_size=SIZE)


def test_ordered_actions_on_one_side_are_free(dataset):
    notes = []
    p = losses(dataset.p).note(notes, "a").note(notes, "b")
    train(p).run(batch_size=SIZE)
    assert notes == [(what, n) for n in range(18) for what in "ab"]
