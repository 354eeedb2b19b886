"""Law 7: the user's own exception arrives, after the batches before it, and says where."""

import inspect
import traceback

import pytest

from batchflow import ActionResultError, Batch, Dataset, action

from .conftest import PREFETCH, make_batch_class, make_dataset


class TwoArguments(Exception):
    def __init__(self, one, two):
        super().__init__(one, two)


@pytest.mark.parametrize("prefetch", PREFETCH)
@pytest.mark.parametrize("at", [0, 3, 9])
def test_an_error_arrives_after_the_batches_before_it(dataset, prefetch, at):
    numbers = []
    with pytest.raises(ValueError, match=f"boom at {at}"):
        for batch in dataset.p.jitter().boom(at=at).jitter().gen_batch(5, prefetch=prefetch):
            numbers.append(batch.number)
    assert numbers == list(range(at))


@pytest.mark.parametrize("prefetch", PREFETCH)
def test_the_exception_is_the_same_object(prefetch):
    error = TwoArguments("one", "two")

    class Raising(Batch):
        @action
        def boom(self):
            raise error

    with pytest.raises(TwoArguments) as caught:
        Dataset(9, Raising).p.boom().run(2, prefetch=prefetch)
    assert caught.value is error


def notes_of(pipeline, **options):
    with pytest.raises(ValueError, match="boom") as caught:
        pipeline.run(**options)
    return caught.value


@pytest.mark.parametrize("prefetch", PREFETCH)
@pytest.mark.parametrize("where", ["prefix", "section", "rest"])
def test_the_notes_name_action_place_batch_and_ids(dataset, prefetch, where):
    base = dataset.p.init_variable("history", init=list)
    line = inspect.currentframe().f_lineno + 1
    pieces = {"prefix": base.boom(at=7).train(), "rest": base.train().boom(at=7)}
    pieces["section"] = base.train().boom(at=7).train()
    error = notes_of(pieces[where], batch_size=5, n_epochs=2, prefetch=prefetch)
    notes = "\n".join(error.__notes__)
    expected_line = line + 1 if where == "section" else line
    assert f"in the action 'boom', chained at {__file__}:{expected_line}" in notes
    again = "make this batch again: " if where == "prefix" else "that came to the ordered section: "
    assert f"{again}pipeline.replay(7, batch_size=5, seed=" in notes
    assert "batch 7, epoch 0, 5 items with the ids [35, 36, 37, 38, 39]" in notes


@pytest.mark.parametrize("prefetch", PREFETCH)
def test_the_traceback_leads_to_the_users_line(dataset, prefetch):
    error = notes_of(dataset.p.boom(at=1), batch_size=5, prefetch=prefetch)
    last = traceback.extract_tb(error.__traceback__)[-1]
    assert (last.name, last.line) == ("boom", 'raise error(f"boom at {at}")')


@pytest.mark.parametrize("shuffle", [False, True, 3])
def test_the_note_shows_how_to_make_the_batch_again(dataset, shuffle):
    pipeline = dataset.p.augment().boom(at=4)
    error = notes_of(pipeline, batch_size=7, shuffle=shuffle, n_epochs=2, prefetch=4)
    note = error.__notes__[-1]
    call = note.removeprefix("make this batch again: ")
    assert call != note
    with pytest.raises(ValueError, match="boom at 4") as again:
        eval(call, {"pipeline": pipeline})
    ids = error.__notes__[-2]
    assert ids in again.value.__notes__


@pytest.mark.parametrize("drop_last", [False, True])
def test_replay_makes_exactly_that_source_batch(training, drop_last):
    options = {"batch_size": 7, "shuffle": True, "n_epochs": 3, "drop_last": drop_last}
    prefix = training.dataset.p.augment()
    run = prefix.gen_batch(prefetch=4, **options)
    for batch in run:
        again = training.replay(batch.number, seed=run.seed, **options)
        assert (again.number, again.epoch) == (batch.number, batch.epoch)
        assert again.indices.tolist() == batch.indices.tolist()
        assert again.images.tobytes() == batch.images.tobytes()


@pytest.mark.parametrize("prefetch", PREFETCH)
def test_an_action_that_returns_nothing_is_named(prefetch):
    class Forgetful(Batch):
        @action
        def work(self):
            pass

    with pytest.raises(ActionResultError, match=r"'work' must return a batch.*return self"):
        Dataset(4, Forgetful).p.work().run(2, prefetch=prefetch)


@pytest.mark.parametrize("prefetch", PREFETCH)
def test_stop_iteration_in_an_action_is_no_silent_end(prefetch):
    class Iterating(Batch):
        @action
        def work(self):
            next(iter([]))
            return self

    with pytest.raises(RuntimeError, match="'work' raised StopIteration") as caught:
        Dataset(4, Iterating).p.work().run(2, prefetch=prefetch)
    assert isinstance(caught.value.__cause__, StopIteration)
    assert "batch 0" in "\n".join(caught.value.__notes__)


@pytest.mark.parametrize("prefetch", PREFETCH)
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit, MemoryError])
def test_no_exception_is_swallowed(dataset, prefetch, error):
    with pytest.raises(error):
        dataset.p.boom(at=3, error=error).run(5, prefetch=prefetch)


@pytest.mark.parametrize("prefetch", PREFETCH)
def test_an_error_of_the_order_comes_after_the_batches_before_it(dataset, prefetch):
    def order(positions):
        if calls:
            raise ValueError("no second epoch")
        calls.append(1)
        return positions[::-1]

    calls, numbers = [], []
    with pytest.raises(ValueError, match="no second epoch"):
        for batch in dataset.p.gen_batch(10, n_epochs=2, shuffle=order, prefetch=prefetch):
            numbers.append(batch.number)
    assert numbers == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("prefetch", PREFETCH)
def test_an_error_in_a_constructor_names_the_batch(prefetch):
    class Picky(Batch):
        def __init__(self, index):
            super().__init__(index)
            if self.number == 2:
                raise ValueError("not this one")

    with pytest.raises(ValueError, match="not this one") as caught:
        Dataset(9, Picky).p.run(2, prefetch=prefetch)
    assert "batch 2, epoch 0, 2 items with the ids [4, 5]" in caught.value.__notes__
    assert caught.value.__notes__[0].startswith("while a Picky was made")


def test_an_error_raised_again_is_noted_once(dataset):
    error = ValueError("always the same")

    class Raising(make_batch_class()):
        @action
        def fail(self):
            raise error

    pipeline = make_dataset(batch_class=Raising).p.fail()
    for _ in range(3):
        with pytest.raises(ValueError, match="always"):
            pipeline.run(10, seed=1)
    assert len(error.__notes__) == len(set(error.__notes__)) == 3


@pytest.mark.parametrize("prefetch", PREFETCH)
def test_a_timeout_of_an_action_is_its_own(dataset, prefetch, monkeypatch):
    monkeypatch.setattr("batchflow.executors.waiting.WAKE_UP", 1e-4)
    numbers = []
    with pytest.raises(TimeoutError, match="boom at 3"):
        for batch in (
            dataset.p.jitter().boom(at=3, error=TimeoutError).gen_batch(5, prefetch=prefetch)
        ):
            numbers.append(batch.number)
    assert numbers == [0, 1, 2]
