"""`train_model(..., steps_per_call=k)`, attacked: what k single steps do, or refused."""

import gc
import threading
import weakref

import numpy as np
import pytest

from batchflow import (
    ActionResultError,
    ArgumentValueError,
    ArrayBatch,
    B,
    Dataset,
    F,
    Pipeline,
    R,
    SkipBatch,
    V,
    action,
    model,
)
from batchflow.models import calls

N_ITEMS, SIZE = 70, 4  # 18 batches in an epoch


class Net:
    def __init__(self, start=0.0):
        self.weight, self.seen = float(start), []

    def train(self, x, *noted):
        self.weight = 0.5 * self.weight + float(np.sum(x))
        self.seen.append([np.array(value).tolist() for value in noted])
        return self.weight


class Rows(ArrayBatch):
    components = "rows"

    @model()
    def kept():
        return Net()

    @model(mode="dynamic")
    def drawn(batch):
        return Net(batch.rng.normal())

    @model(mode="dynamic")
    def numbered(batch):
        return Net(batch.number)

    @action(singleton=True)
    def note(self, notes, what):
        notes.append((what, self.number))
        return self


@pytest.fixture
def dataset():
    Rows.models.reset("kept")
    return Dataset.from_arrays(Rows, rows=np.arange(3.0 * N_ITEMS).reshape(N_ITEMS, 3))


def same_or_refused(told):
    """Whether groups of 4 tell what single steps do, or are refused before a batch is made."""
    Rows.models.reset("kept")
    single = told(1)
    Rows.models.reset("kept")
    try:
        grouped = told(4)
    except ArgumentValueError as error:
        return "steps_per_call" in str(error)
    assert grouped == single
    return True


# ---- what is stored


def test_what_is_fetched_may_differ_from_batch_to_batch(dataset):
    class Two(Net):
        def train(self, x):
            value = super().train(x)
            return {"a": value, "b": -value}

    def told(k):
        p = dataset.p.init_model("net", Two).init_variable("got", init=list)
        which = F(lambda number: "ab"[number % 2])(B.number)
        p = p.train_model("net", B.rows, fetches=which, save_to=V("got", "a"), steps_per_call=k)
        return p.run(SIZE).v("got")

    assert same_or_refused(told)


# ---- what the model sees


def test_a_history_that_grows_before_the_step_is_seen_as_it_was_at_each_batch(dataset):
    def told(k):
        p = dataset.p.init_model("net", Net).init_variable("history", init=list)
        p = p.update(V("history", "a"), B.number)
        p = p.train_model("net", B.rows, V("history"), steps_per_call=k)
        return p.run(SIZE).m("net").seen

    assert same_or_refused(told)


def test_a_dynamic_model_draws_what_it_draws_in_single_steps(dataset):
    def told(k):
        p = dataset.p.train_model("drawn", R("normal", size=3), steps_per_call=k)
        return p.run(SIZE, seed=1).m("drawn").weight

    assert same_or_refused(told)


def test_a_dynamic_model_is_configured_by_variables_as_they_are_at_its_first_batch(dataset):
    def told(k):
        p = dataset.p.init_variable("n", 0)
        p = p.init_model("net", Net, mode="dynamic", config={"start": V("n")})
        p = p.update(V("n"), V("n") + 1).train_model("net", B.rows, steps_per_call=k)
        return p.run(SIZE).m("net").weight

    assert same_or_refused(told)


def test_a_dynamic_model_is_made_from_the_same_batch_where_an_argument_skips_the_first(dataset):
    def skips(number, rows):
        if number < 2:
            raise SkipBatch
        return rows

    def told(k):
        p = dataset.p.train_model("numbered", F(skips)(B.number, B.rows), steps_per_call=k)
        return p.run(SIZE).m("numbered").weight

    assert same_or_refused(told)


# ---- models shared in ways that the section does not show


def test_a_merged_pipeline_that_trains_the_same_model_is_in_turn_or_refused(dataset):
    def told(k):
        other = dataset.p.train_model("kept", B.rows * 3)
        dataset.p.train_model("kept", B.rows, steps_per_call=k).merge(other).run(SIZE)
        return Rows.models["kept"].weight

    assert same_or_refused(told)


def test_a_joined_pipeline_that_trains_the_same_model_is_in_turn_or_refused(dataset):
    def told(k):
        other = dataset.p.train_model("kept", B.rows * 3)
        dataset.p.train_model("kept", B.rows, steps_per_call=k).join(other).call(len).run(SIZE)
        return Rows.models["kept"].weight

    assert same_or_refused(told)


def test_an_imported_model_that_a_merged_pipeline_trains_too_is_in_turn_or_refused(dataset):
    def told(k):
        owner = dataset.p.init_model("net", Net)
        mine, others = (dataset.p.import_model("net", owner) for _ in range(2))
        p = mine.train_model("net", B.rows, steps_per_call=k)
        return p.merge(others.train_model("net", B.rows * 2)).run(SIZE).m("net").weight

    assert same_or_refused(told)


def test_groups_in_a_merged_pipeline_do_not_train_ahead_of_the_model_that_both_train(dataset):
    def told(k):
        other = dataset.p.train_model("kept", B.rows * 3, steps_per_call=k)
        dataset.p.merge(other).train_model("kept", B.rows).run(SIZE)
        return Rows.models["kept"].weight

    assert same_or_refused(told)


def test_groups_in_a_merged_pipeline_keep_ordered_actions_in_turn_or_are_refused(dataset):
    def told(k):
        notes = []
        other = dataset.p.note(notes, "in").init_model("net", Net)
        other = other.train_model("net", B.rows, steps_per_call=k)
        dataset.p.merge(other).note(notes, "out").run(SIZE)
        return notes

    assert same_or_refused(told)


def test_one_model_under_two_names_is_trained_in_turn_or_refused(dataset):
    def told(k):
        net = Net()
        p = dataset.p.init_model("a", net).init_model("b", net)
        p = p.train_model("a", B.rows, steps_per_call=k)
        p.train_model("b", B.rows * 2, steps_per_call=k).run(SIZE)
        return net.weight

    assert same_or_refused(told)


@pytest.mark.tensorflow
def test_two_keras_models_with_a_layer_in_common_are_trained_in_turn_or_refused():
    keras = pytest.importorskip("keras")
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(40, 3)).astype("float32")
    dataset = Dataset.from_arrays(Rows, rows=rows)

    def told(k):
        keras.utils.set_random_seed(1)
        judge = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(1)])
        judge.compile("sgd", "mse")
        whole = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(3), judge])
        whole.compile("sgd", "mse")
        p = dataset.p.init_model("judge", judge).init_model("whole", whole)
        p = p.train_model("judge", B.rows, B.rows[:, :1], steps_per_call=k)
        p.train_model("whole", B.rows, B.rows[:, 1:2], steps_per_call=k).run(SIZE)
        return [weights.tolist() for weights in whole.get_weights()]

    assert same_or_refused(told)


# ---- signals and errors of the step itself


def test_a_model_may_skip_a_batch(dataset):
    class Picky(Net):
        def train(self, x, number):
            if number == 5:
                raise SkipBatch
            return super().train(x)

    def told(k):
        p = dataset.p.init_model("net", Picky).init_variable("losses", init=list)
        given = {"save_to": V("losses", "a"), "steps_per_call": k}
        p = p.train_model("net", B.rows, B.number, **given)
        return [batch.number for batch in p.gen_batch(SIZE)], p.v("losses")

    assert same_or_refused(told)


@pytest.mark.filterwarnings("ignore:coroutine")
@pytest.mark.parametrize("k", [1, 4])
def test_a_model_that_trains_by_a_coroutine_is_refused(dataset, k):
    class Waits(Net):
        async def train(self, x):
            return super().train(x)

    p = dataset.p.init_model("net", Waits).train_model("net", B.rows, steps_per_call=k)
    with pytest.raises(ActionResultError, match="coroutine"):
        p.run(SIZE)


@pytest.mark.parametrize("k", [1, 4])
@pytest.mark.parametrize("place", ["argument", "step"])
def test_stop_iteration_is_told_with_its_step(dataset, place, k):
    def ends(*args):
        return next(iter(()))

    class Ends(Net):
        train = ends

    argument = F(ends)() if place == "argument" else B.rows
    p = dataset.p.init_model("net", Ends).train_model("net", argument, steps_per_call=k)
    with pytest.raises(RuntimeError, match="'train_model' raised StopIteration") as raised:
        p.run(SIZE)
    assert any("batch 0, epoch 0" in note for note in raised.value.__notes__)


def test_the_refusal_names_the_step_that_is_left_to_the_coin(dataset):
    p = dataset.p.init_model("a", Net).init_model("b", Net)
    p = p.train_model("a", B.rows, steps_per_call=4)
    p = p + Pipeline().train_model("b", B.rows, steps_per_call=4) @ 0.5
    with pytest.raises(ArgumentValueError, match=r"train_model\('b', .* left to the coin"):
        p.gen_batch(SIZE)


# ---- bounds


@pytest.mark.parametrize("prefetch", [0, 4])
@pytest.mark.parametrize("k", [2, 5])
def test_prefetch_and_a_group_are_all_the_batches_that_exist(prefetch, k):
    alive, most, guard = weakref.WeakSet(), [0], threading.Lock()

    class Counted(ArrayBatch):
        components = "rows"

        def __init__(self, index, *args, **kwargs):
            super().__init__(index, *args, **kwargs)
            with guard:
                alive.add(self)
                most[0] = max(most[0], len(alive))

    dataset = Dataset.from_arrays(Counted, rows=np.zeros((400, 3)))
    p = dataset.p.init_model("net", Net).train_model("net", B.rows, steps_per_call=k)
    gc.collect()
    p.run(SIZE, prefetch=prefetch)
    assert most[0] <= prefetch + k


# ---- what holds


@pytest.mark.parametrize("prefetch", [0, 3])
def test_no_group_has_batches_of_two_epochs_whatever_is_left_out(dataset, monkeypatch, prefetch):
    groups = []
    several = calls.train_several

    def noting(net, given, *args, **kwargs):
        groups.append([call[0][1] for call in given])
        return several(net, given, *args, **kwargs)

    monkeypatch.setattr(calls, "train_several", noting)
    monkeypatch.setattr(calls, "trains_several", lambda model: True)
    rng = np.random.default_rng(0)
    for _ in range(10):
        gone = set(rng.choice(54, 15).tolist())
        p = dataset.p.init_model("net", Net)
        p = p.filter(F(lambda n, gone=gone: n not in gone)(B.number), over="batches")
        p = p.map(lambda batch: batch.deepcopy(), over="batches")
        p = p.train_model("net", B.rows, B.epoch, steps_per_call=5).rebatch(7)
        p.run(SIZE, n_epochs=3, prefetch=prefetch)
    assert all(len(set(epochs)) == 1 for epochs in groups)
    assert {len(epochs) for epochs in groups} == {5}


def test_two_runs_train_one_model_in_two_threads(dataset):
    owner = dataset.p.init_model("net", Net)
    pipelines = [dataset.p.import_model("net", owner) for _ in range(2)]
    pipelines = [p.train_model("net", B.rows, steps_per_call=3) for p in pipelines]
    errors = []

    def train(p):
        try:
            p.run(SIZE, n_epochs=20, prefetch=2)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=train, args=(p,)) for p in pipelines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert errors == []
    assert len(owner.m("net").seen) == 2 * 20 * 18


def test_an_interrupt_in_a_group_leaves_the_locks_free(dataset):
    class Interrupted(Net):
        def train(self, x, number):
            if number == 6 and self.seen[-1:] != [[99]]:
                self.seen.append([99])
                raise KeyboardInterrupt
            return super().train(x)

    p = dataset.p.init_model("net", Interrupted)
    p = p.train_model("net", B.rows, B.number, steps_per_call=4)
    with pytest.raises(KeyboardInterrupt):
        p.run(SIZE, prefetch=2)
    done = threading.Thread(target=p.run, args=(SIZE,), kwargs={"n_iters": 4})
    done.start()
    done.join(30)
    assert not done.is_alive()
