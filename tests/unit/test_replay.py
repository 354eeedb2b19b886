"""Replay: the note of an error is the code that makes the same error again."""

import ast

import numpy as np
import pytest

from batchflow import ArgumentTypeError, ArgumentValueError, ArrayBatch, Dataset, SkipBatch, action


class Numbers(ArrayBatch):
    @action
    def jitter(self):
        self.data = self.data + self.rng.random(len(self))
        return self

    @action
    def fail(self, at):
        if self.number == at:
            raise ValueError(f"{self.indices.tolist()} {self.data.tolist()}")
        return self

    @action
    def skip(self, at):
        if self.number == at:
            raise SkipBatch
        return self

    @action(singleton=True)
    def note(self):
        self.pipeline.v("seen").append(self.number)
        return self

    @action(singleton=True)
    def fail_in_order(self, at):
        if self.number == at:
            raise ValueError("in order")
        return self


DATASET = Dataset.from_arrays(Numbers, data=np.arange(10.0))


def reverse(positions):
    return positions[::-1]


def failed(pipeline, **options):
    """Run until it fails; give the error and the code in its note."""
    with pytest.raises(ValueError) as caught:
        pipeline.run(**options)
    (note,) = [n for n in caught.value.__notes__ if n.startswith("make ")]
    return caught.value, note.split(": ", 1)[1]


def options_of_all_kinds():
    yield {"batch_size": 3}
    yield {"batch_size": 3, "seed": 5}
    yield {"batch_size": 3, "shuffle": True}
    yield {"batch_size": 3, "shuffle": 0}
    yield {"batch_size": 3, "shuffle": True, "seed": 9, "prefetch": 4}
    yield {"batch_size": 3, "shuffle": 7, "seed": 9, "n_epochs": 3}
    yield {"batch_size": 3, "shuffle": np.random.default_rng(1), "drop_last": True, "n_epochs": 3}
    yield {"batch_size": 3, "shuffle": np.random.RandomState(1), "n_iters": 20}
    yield {"batch_size": np.int64(3), "seed": np.uint32(3), "n_epochs": 3, "drop_last": True}
    yield {"batch_size": 3, "shuffle": reverse, "n_epochs": 2}


@pytest.mark.parametrize("options", list(options_of_all_kinds()), ids=lambda o: str(sorted(o)))
def test_the_code_in_the_note_makes_the_same_error_again(options):
    at = 5 if {"n_epochs", "n_iters"} & set(options) else 2
    pipeline = DATASET.p.jitter().fail(at)
    error, code = failed(pipeline, **options)
    with pytest.raises(ValueError) as again:
        eval(code, {"pipeline": pipeline, "reverse": reverse})
    assert str(again.value) == str(error)


@pytest.mark.parametrize(
    "shuffle",
    [lambda positions: positions, np.random.default_rng(1).permutation, sorted],
    ids=["lambda", "method", "builtin"],
)
def test_the_code_in_the_note_is_python_whatever_shuffles(shuffle):
    _, code = failed(DATASET.p.fail(1), batch_size=3, shuffle=shuffle)
    assert isinstance(ast.parse(code, mode="eval").body, ast.Call)


def test_the_notes_say_where_and_which_batch():
    error, _ = failed(DATASET.p.jitter().fail(4), batch_size=3, n_epochs=2)
    where, facts, _ = error.__notes__
    assert ("'fail'" in where, f"{__file__}:" in where) == (True, True)
    assert facts == "batch 4, epoch 1, 3 items with the ids [0, 1, 2]"


def test_notes_are_not_doubled_when_one_object_is_raised_again():
    failure = ValueError("mine")

    class Same(Numbers):
        @action
        def fail(self, at):
            if self.number == at:
                raise failure
            return self

    pipeline = Dataset.from_arrays(Same, data=np.arange(10.0)).p.fail(1)
    for _ in range(2):
        failed(pipeline, batch_size=3, seed=1)
    assert len(failure.__notes__) == 3


def test_replay_gives_the_batch_of_the_run():
    pipeline = DATASET.p.jitter()
    run = pipeline.gen_batch(3, shuffle=4, n_epochs=3)
    batches = list(run)
    again = pipeline.replay(9, 3, shuffle=4, seed=run.seed)
    assert (again.data.tolist(), again.number, again.epoch) == (batches[9].data.tolist(), 9, 2)


def test_replay_of_a_skipped_batch_is_none():
    assert DATASET.p.skip(1).replay(1, 3) is None


def test_replay_stops_at_the_ordered_section():
    pipeline = DATASET.p.init_variable("seen", init=list).jitter().note()
    assert (pipeline.replay(1, 3).number, pipeline.v("seen")) == (1, [])


def test_the_note_of_an_error_in_the_section_makes_the_batch_that_came_to_it():
    pipeline = DATASET.p.jitter().fail_in_order(2)
    _, code = failed(pipeline, batch_size=3)
    batch = eval(code, {"pipeline": pipeline})
    assert (batch.number, batch.indices.tolist()) == (2, [6, 7, 8])


def test_replay_takes_the_options_set_ahead():
    assert DATASET.p.jitter().run_later(4).replay(1).indices.tolist() == [4, 5, 6, 7]


def test_a_replayed_batch_knows_its_pipeline():
    pipeline = DATASET.p.jitter()
    assert pipeline.replay(0, 3).pipeline is pipeline


def test_replay_does_not_disturb_next_batch():
    pipeline = DATASET.p.jitter()
    pipeline.next_batch(3)
    pipeline.replay(0, 3)
    assert pipeline.next_batch(3).number == 1


def test_replay_leaves_the_variables_as_they_are():
    pipeline = DATASET.p.init_variable("seen", init_on_each_run=list).note().run(5)
    pipeline.replay(0, 5)
    assert pipeline.v("seen") == [0, 1]


def test_replay_leaves_the_seed_of_the_latest_run_as_it_is():
    pipeline = DATASET.p.jitter().run(5, seed=1)
    pipeline.replay(0, 5, seed=2)
    assert pipeline.seed == 1


def test_replay_of_a_negative_number_is_refused_in_words():
    with pytest.raises(ArgumentValueError, match="-1") as caught:
        DATASET.p.jitter().replay(-1, 3)
    assert "None" not in str(caught.value)


def test_replay_beyond_the_end_is_refused():
    with pytest.raises(ArgumentValueError, match="no batch 4: it has 4 batches"):
        DATASET.p.jitter().replay(4, 3, n_epochs=1)


@pytest.mark.parametrize("number", ["1", 1.0, True, None], ids=repr)
def test_replay_takes_a_whole_number(number):
    with pytest.raises(ArgumentTypeError, match="number"):
        DATASET.p.jitter().replay(number, 3)


def test_replay_refuses_a_typo():
    with pytest.raises(ArgumentTypeError, match=r"'shufle'.*'shuffle'"):
        DATASET.p.jitter().replay(0, 3, shufle=1)
