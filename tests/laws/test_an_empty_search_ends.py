"""Law 6: a run without end that delivers nothing ends in an error, wherever batches are lost."""

import kit
import pytest

from batchflow import ActionResultError, B, StopPipeline, V, action
from batchflow.testing import nothing_left

NONE = B.x < 0


def rows(n_items=10, cls=kit.Rows):
    return kit.rows(n_items, cls=cls).p


def counted(pipeline):
    return pipeline.init_variable("n", 0).update(V("n"), V("n") + 1)


def endless(pipeline):
    return pipeline.run_later(3, n_epochs=None)


CHAINS = {
    "filter": rows().filter(NONE),
    "filter of batches": rows().filter(lambda batch: False, over="batches"),
    "ordered steps": counted(rows()).discard_batch(),
    "behind ordered steps": counted(rows()).scale().filter(NONE),
    "rebatch that drops": rows().filter(B.x < 5).rebatch(8, drop_last=True),
    "merge": rows().merge(endless(rows().filter(NONE))),
    "merge of nothing": rows().filter(NONE).merge(endless(rows())),
    "merge of a merge": rows().merge(endless(rows().merge(endless(rows().discard_batch())))),
    "concat": rows().filter(NONE).concat(rows(4).discard_batch()),
    "join": rows().join(rows().filter(NONE)).add(),
}
each_chain = pytest.mark.parametrize("pipeline", CHAINS.values(), ids=CHAINS)
nothing_comes = pytest.raises(ActionResultError, match=r"no batch has come out of .* whole epochs")


@pytest.mark.parametrize("prefetch", [0, 4])
@each_chain
def test_a_run_without_end_ends_if_nothing_comes(pipeline, prefetch):
    with nothing_left(), nothing_comes:
        next(pipeline.gen_batch(4, n_epochs=None, prefetch=prefetch))


@each_chain
def test_next_batch_ends_if_nothing_comes(pipeline):
    with nothing_comes:
        pipeline.next_batch(4)


def test_processes_tell_it_of_the_same_epochs():
    def error(**parallel):
        with nothing_comes as caught:
            next(rows().filter(NONE).gen_batch(4, n_epochs=None, **parallel))
        return str(caught.value)

    assert error() == error(executor="processes", n_workers=1)


def test_a_merge_that_waits_for_nothing_ends_a_run_of_one_epoch():
    with nothing_comes:
        CHAINS["merge"].run(4)


def test_a_later_epoch_may_be_the_first_that_gives_a_batch():
    pipeline = (
        rows()
        .call(lambda n: n, B.epoch, save_to=B.n)
        .filter(lambda batch: batch.n >= 50, over="batches")
    )
    assert pipeline.next_batch(4).epoch == 50
    pipeline.reset("iter")


def test_the_search_begins_again_behind_each_batch():
    pipeline = rows().filter(lambda batch: batch.number % 900 == 0, over="batches")
    with pipeline.gen_batch(4, n_epochs=None) as run:
        assert [next(run).number for _ in range(4)] == [0, 900, 1800, 2700]


def test_the_epochs_of_a_run_without_end_may_be_empty_for_as_long_as_they_are_asked_for():
    run = rows(2).discard_batch().gen_batch(4, n_epochs=None)
    assert [list(epoch) for epoch, _ in zip(run.epochs(), range(1100), strict=False)] == [[]] * 1100


def test_run_delivers_nothing_and_goes_on_to_its_stop():
    class Stopping(kit.Rows):
        @action(singleton=True)
        def stop_at(self, number):
            if self.number == number:
                raise StopPipeline
            return self

    pipeline = counted(rows(2, Stopping)).stop_at(1100).discard_batch()
    assert pipeline.run(4, n_epochs=None).v("n") == 1101
