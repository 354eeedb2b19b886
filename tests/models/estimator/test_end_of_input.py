"""Where an input ends, and what a call with `max_steps` that was killed there does when it is
called again.
"""

import json

import pytest
from models.document_kit import step_of
from models.estimator.nets import assert_same, batches, model_fn, one_epoch, state

from batchflow.models import Estimator, RunConfig

pytestmark = pytest.mark.tensorflow

N_BATCHES = 12  # of one epoch


class Killed(BaseException):
    """Ends a call as a kill does: nothing is saved any more."""


def notes_of(estimator):
    with open(estimator.latest_checkpoint().replace(".npz", ".json")) as stream:
        return json.load(stream)


def at(folder, every=4):
    return Estimator(model_fn, folder, RunConfig(save_checkpoints_steps=every))


def killed_after(folder, n_batches, max_steps, every=4):
    """Train on a part of an epoch, and be killed then."""

    def input_fn():
        for number, batch in enumerate(one_epoch()):
            if number == n_batches:
                break
            yield batch
        raise Killed

    with pytest.raises(Killed):
        at(folder, every).train(input_fn, max_steps=max_steps)


def test_killed_after_the_save_at_its_last_batch_it_ends_there(tmp_path):
    whole = at(tmp_path / "whole").train(one_epoch, max_steps=50)
    killed_after(tmp_path / "killed", N_BATCHES, max_steps=50)
    again = at(tmp_path / "killed").train(one_epoch, max_steps=50)
    assert step_of(again) == step_of(whole) == N_BATCHES
    assert_same(state(again), state(whole))


@pytest.mark.parametrize("n_batches", [1, 4, 5, 8, 11])
def test_killed_anywhere_else_it_reads_the_rest(tmp_path, n_batches):
    killed_after(tmp_path, n_batches, max_steps=50, every=1)
    assert step_of(at(tmp_path).train(one_epoch, max_steps=50)) == N_BATCHES


def test_the_call_after_that_begins_the_input_anew(tmp_path):
    killed_after(tmp_path, N_BATCHES, max_steps=50)
    estimator = at(tmp_path)
    assert step_of(estimator.train(one_epoch, max_steps=50)) == N_BATCHES
    assert step_of(estimator.train(one_epoch, max_steps=50)) == 2 * N_BATCHES


@pytest.mark.parametrize("is_another", [False, True], ids=["the same", "another"])
def test_a_call_that_ended_at_the_end_of_the_input_lets_the_next_begin_anew(tmp_path, is_another):
    first = at(tmp_path).train(one_epoch, max_steps=N_BATCHES)
    second = at(tmp_path) if is_another else first
    assert step_of(second.train(one_epoch, max_steps=50)) == 2 * N_BATCHES


def test_killed_after_the_save_at_max_steps_the_next_call_begins_anew(tmp_path):
    class Hook:
        def begin(self): ...
        def before_run(self, run_context): ...
        def after_run(self, run_context, run_values): ...
        def end(self, session):
            raise Killed

    with pytest.raises(Killed):
        at(tmp_path).train(one_epoch, max_steps=N_BATCHES, hooks=[Hook()])
    estimator = at(tmp_path).train(one_epoch, max_steps=N_BATCHES)
    assert step_of(estimator) == N_BATCHES
    assert step_of(estimator.train(one_epoch, max_steps=50)) == 2 * N_BATCHES


def test_a_checkpoint_says_whether_its_call_was_under_way(tmp_path):
    killed_after(tmp_path, 5, max_steps=50)
    estimator = at(tmp_path)
    assert (notes_of(estimator)["position"], notes_of(estimator)["is_under_way"]) == (4, True)
    estimator.train(one_epoch, max_steps=8)
    assert (notes_of(estimator)["position"], notes_of(estimator)["is_under_way"]) == (8, False)
    estimator.train(one_epoch, max_steps=50)
    assert (notes_of(estimator)["position"], notes_of(estimator)["is_under_way"]) == (0, False)


def test_a_save_by_a_hook_says_it_too(tmp_path):
    estimator = Estimator(model_fn, tmp_path)

    class Saves:
        def begin(self): ...
        def before_run(self, run_context): ...
        def after_run(self, run_context, run_values):
            estimator.evaluate(batches, steps=1)

        def end(self, session): ...

    def input_fn():
        yield from one_epoch()
        raise Killed

    with pytest.raises(Killed):
        estimator.train(input_fn, max_steps=50, hooks=[Saves()])
    assert notes_of(estimator)["is_under_way"]
    assert step_of(estimator.train(one_epoch, max_steps=50)) == N_BATCHES


def test_a_checkpoint_without_that_note_is_read_as_before(tmp_path):
    estimator = at(tmp_path).train(batches, max_steps=N_BATCHES)
    path = estimator.latest_checkpoint().replace(".npz", ".json")
    notes = notes_of(estimator)
    del notes["is_under_way"]
    with open(path, "w") as stream:
        json.dump(notes, stream)
    assert step_of(at(tmp_path).train(one_epoch, max_steps=20)) == 20


# ---- StopIteration


def stopping():
    """Two batches, and an end that Python makes a `RuntimeError` of."""
    both = batches()
    yield next(both)
    yield next(both)
    raise StopIteration


def test_a_generator_that_raises_stop_iteration_has_ended(tmp_path):
    estimator = Estimator(model_fn, tmp_path).train(stopping)
    assert step_of(estimator) == 2
    assert estimator.evaluate(stopping)["global_step"] == 2
    assert len(list(estimator.predict(stopping))) == 20


def test_a_stop_iteration_of_a_generator_inside_is_an_error(tmp_path):
    def reading():
        return (batch for batch in stopping())

    def delegating():
        yield from stopping()

    for input_fn in (reading, delegating):
        with pytest.raises(RuntimeError, match="StopIteration"):
            Estimator(model_fn, tmp_path).train(input_fn)


def test_a_runtime_error_of_an_input_is_an_error(tmp_path):
    def plain():
        yield next(batches())
        raise RuntimeError("broken")

    def caused():
        yield next(batches())
        raise RuntimeError("broken") from StopIteration()

    class Iterator:
        def __iter__(self):
            return self

        def __next__(self):
            raise RuntimeError("broken") from StopIteration()

    for input_fn in (plain, caused, Iterator):
        with pytest.raises(RuntimeError, match="broken"):
            Estimator(model_fn, tmp_path).train(input_fn)
