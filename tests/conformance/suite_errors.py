"""Errors, skips and stops."""

import threading

import pytest

from batchflow import ArgumentValueError, B, SkipBatch, StopPipeline, V, WorkerDiedError

from .chains import BATCH, N_ITEMS, make_dataset, with_history


class TwoArgumentsError(Exception):
    def __init__(self, code, text):
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text


class LockError(Exception):
    """Has a part that cannot be pickled."""

    def __init__(self, text):
        super().__init__(text)
        self.lock = threading.Lock()


def error_of(pipeline, executor, **options):
    """Run until the error; give it, and the numbers delivered before it."""
    numbers = []
    options = {"executor": executor, "prefetch": 4, **options}
    with pytest.raises(BaseException) as caught:
        for batch in pipeline.gen_batch(BATCH, **options):
            numbers.append(batch.number)
    return caught.value, numbers


class Errors:
    @pytest.mark.parametrize("number", [0, 3, 8])
    def test_an_error_comes_at_its_turn(self, executor, number):
        pipeline = make_dataset().p.jitter().at(number, ValueError("boom"))
        error, numbers = error_of(pipeline, executor)
        assert type(error) is ValueError
        assert error.args == ("boom",)
        assert numbers == list(range(number))

    def test_an_error_says_where(self, executor):
        pipeline = make_dataset().p.augment().at(3, ValueError("boom"))
        error, _ = error_of(pipeline, executor, seed=11)
        notes = "\n".join(error.__notes__)
        assert "in the action 'at'" in notes
        assert "suite_errors.py:" in notes
        assert "batch 3, epoch 0, 4 items with the ids [12, 13, 14, 15]" in notes
        assert "make this batch again: pipeline.replay(3, batch_size=4, seed=11)" in notes
        with pytest.raises(ValueError, match="boom"):
            pipeline.replay(3, batch_size=4, seed=11)

    def test_an_error_shows_the_users_line(self, executor):
        def broken(x):
            return x / {}

        error, _ = error_of(make_dataset().p.call(broken, B.x), executor)
        text = "\n".join(error.__notes__) if self.is_far else self.traceback_of(error)
        assert "return x / {}" in text
        assert "in broken" in text

    @staticmethod
    def traceback_of(error):
        import traceback

        return "".join(traceback.format_exception(error))

    def test_an_error_with_two_arguments_arrives_whole(self, executor):
        error, _ = error_of(
            make_dataset().p.call_at(1, lambda batch: _raise(TwoArgumentsError(7, "boom"))),
            executor,
        )
        assert (error.code, error.text, str(error)) == (7, "boom", "7: boom")
        assert any("batch 1" in note for note in error.__notes__)

    def test_an_error_of_a_local_class_is_of_that_class(self, executor):
        class LocalError(Exception):
            pass

        error, _ = error_of(make_dataset().p.at(2, LocalError), executor)
        assert type(error) is LocalError

    def test_an_error_of_which_a_part_cannot_travel_is_what_it_is(self, executor):
        def fail(batch):
            raise LockError("it is stuck")

        error, numbers = error_of(make_dataset().p.call_at(2, fail), executor)
        assert numbers == [0, 1]
        assert type(error) is LockError
        assert str(error) == "it is stuck"
        notes = "\n".join(error.__notes__)
        assert "batch 2" in notes
        assert "call_at" in notes

    def test_the_cause_of_an_error_is_told(self, executor):
        def fail(batch):
            try:
                {}["lost"]
            except KeyError as error:
                raise RuntimeError("no entry") from error

        error, _ = error_of(make_dataset().p.call_at(0, fail), executor)
        told = self.traceback_of(error)
        assert "KeyError: 'lost'" in told
        assert "RuntimeError: no entry" in told

    @pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit, MemoryError])
    def test_no_exception_is_swallowed(self, executor, kind):
        error, numbers = error_of(make_dataset().p.at(3, kind), executor)
        assert type(error) is kind
        assert numbers == [0, 1, 2]

    def test_an_error_of_its_own_before_and_another_later_is_the_first(self, executor):
        pipeline = make_dataset().p.at([2, 3, 4, 5], ValueError)
        error, numbers = error_of(pipeline, executor)
        assert numbers == [0, 1]
        assert any("batch 2" in note for note in error.__notes__)

    def test_an_error_in_the_section_comes_at_its_turn(self, executor):
        pipeline = with_history(make_dataset().p.augment()).in_order_at(3, ValueError)
        error, numbers = error_of(pipeline, executor)
        assert type(error) is ValueError
        assert numbers == [0, 1, 2]
        assert pipeline.v("history") == [0, 1, 2, 3]

    def test_an_error_behind_a_regrouping_says_where(self, executor):
        pipeline = make_dataset().p.augment().rebatch(6).at(2, ValueError("boom"))
        error, numbers = error_of(pipeline, executor, seed=1)
        assert numbers == [0, 1]
        assert any("ids [12, 13, 14, 15, 16, 17]" in note for note in error.__notes__)
        assert any("pipeline.replay(3," in note for note in error.__notes__)

    @pytest.mark.parametrize("signal", [SkipBatch, StopPipeline])
    @pytest.mark.parametrize("number", [0, 3, N_ITEMS // BATCH - 1])
    def test_signals_in_the_prefix(self, executor, signal, number):
        pipeline = with_history(make_dataset().p.jitter().at(number, signal)).in_order_at(-1, None)
        numbers = self.numbers_of(pipeline, executor)
        last = N_ITEMS // BATCH
        skipped = [n for n in range(last) if n != number]
        assert numbers == (list(range(number)) if signal is StopPipeline else skipped)
        assert pipeline.v("history") == numbers

    @pytest.mark.parametrize("signal", [SkipBatch, StopPipeline])
    def test_signals_in_the_section(self, executor, signal):
        pipeline = with_history(make_dataset().p.jitter()).in_order_at(3, signal)
        numbers = self.numbers_of(pipeline, executor)
        skipped = [n for n in range(N_ITEMS // BATCH) if n != 3]
        assert numbers == ([0, 1, 2] if signal is StopPipeline else skipped)

    @pytest.mark.parametrize("signal", [SkipBatch, StopPipeline])
    def test_signals_in_a_joined_pipeline(self, executor, signal):
        inner = make_dataset().p.at(3, signal)
        numbers = self.numbers_of(make_dataset().p.join(inner).add(), executor)
        skipped = [n for n in range(N_ITEMS // BATCH) if n != 3]
        assert numbers == ([0, 1, 2] if signal is StopPipeline else skipped)

    @pytest.mark.parametrize("signal", [SkipBatch, StopPipeline])
    def test_signals_behind_a_regrouping(self, executor, signal):
        pipeline = make_dataset().p.at(1, SkipBatch).rebatch(6).at(3, signal)
        numbers = self.numbers_of(pipeline, executor)
        assert numbers == ([0, 1, 2] if signal is StopPipeline else [0, 1, 2, 4, 5])

    def numbers_of(self, pipeline, executor):
        options = {"executor": executor, "prefetch": 4}
        return [batch.number for batch in pipeline.gen_batch(BATCH, **options)]

    def test_a_variable_that_is_written_is_not_read_ahead(self, executor):
        def read(batch):
            batch.pipeline.v("history")

        pipeline = with_history(make_dataset().p.call_at(2, read))
        pipeline = pipeline.update(V("history", "a"), B.number)
        error, numbers = error_of(pipeline, executor)
        assert isinstance(error, ArgumentValueError)
        assert "'history'" in str(error)
        assert numbers == [0, 1]

    def test_a_variable_is_not_written_ahead(self, executor):
        def write(batch):
            batch.pipeline.set_variable("n", 1)

        pipeline = make_dataset().p.init_variable("n", 0).call_at(0, write)
        error, _ = error_of(pipeline, executor)
        assert isinstance(error, ArgumentValueError)
        assert "cannot set the variable 'n'" in str(error)

    def test_variables_of_steps_in_order_are_not_lost(self, executor):
        pipeline = make_dataset().p.init_variable("n", 0).augment().update(V("n"), V("n") + 1)
        assert pipeline.run(BATCH, executor=executor, prefetch=4, n_epochs=3).v("n") == 27

    def test_no_worker_is_blamed_for_an_error(self, executor):
        error, _ = error_of(make_dataset().p.at(0, ValueError), executor)
        assert not isinstance(error, WorkerDiedError)


def _raise(error):
    raise error
