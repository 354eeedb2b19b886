"""The length of a run or of a feed is right, or an error."""

import numpy as np
import pytest

from batchflow import ActionResultError, ArrayBatch, B, Dataset, SkipBatch, V, action

each_prefetch = pytest.mark.parametrize("prefetch", [0, 3])


class Scans(ArrayBatch):
    @action
    def cut(self, n):
        patches = Scans(n * len(self))
        patches.data = np.zeros(len(patches))
        return patches

    @action
    def first_only(self):
        return self.create_subset(self.indices[:1])

    @action
    def mine(self):
        return self

    @action
    def skip(self, at):
        if self.number == at:
            raise SkipBatch
        return self


CUTTING = Dataset(7, Scans).p.cut(5).mine().rebatch(16)
OTHERS = Dataset(100, Scans).p


def test_without_asking_for_the_length_items_may_become_more():
    assert [len(batch) for batch in CUTTING.gen_batch(2)] == [16, 16, 3]


@each_prefetch
def test_a_length_that_was_counted_on_ends_in_an_error_that_names_the_action(prefetch):
    run = CUTTING.gen_batch(2, prefetch=prefetch)
    assert len(run) == 1
    with pytest.raises(ActionResultError, match=r"'cut', chained at .*py.*made 10 items of the 2"):
        list(run)


def test_items_that_become_fewer_are_named_too():
    run = Dataset(7, Scans).p.first_only().rebatch(3).gen_batch(2)
    assert len(run) == 3
    with pytest.raises(ActionResultError, match=r"'first_only'.*made 1 items of the 2 of batch 0"):
        next(run)


def test_so_are_batches_that_are_skipped():
    run = Dataset(7, Scans).p.skip(1).rebatch(2).gen_batch(2)
    assert len(run) == 4
    with pytest.raises(ActionResultError, match=r"ahead of rebatch\(2\) skipped the batch 1"):
        list(run)


def test_the_last_batch_that_is_skipped_is_missed_as_well():
    run = Dataset(7, Scans).p.skip(3).rebatch(2).gen_batch(2)
    assert len(run) == 4
    with pytest.raises(ActionResultError, match="skipped the batch 3"):
        list(run)


def test_in_processes_the_action_is_named_too():
    run = CUTTING.gen_batch(2, executor="processes", n_workers=1)
    assert len(run) == 1
    with pytest.raises(ActionResultError, match="'cut', chained at"):
        list(run)


@pytest.mark.parametrize("gather", [list, tuple, sorted, lambda run: [*run]])
def test_the_hint_that_list_asks_for_is_not_counted_on(gather):
    run = (len(batch) for batch in CUTTING.gen_batch(2))
    assert len(gather(run)) == 3
    assert len(list(CUTTING.gen_batch(2))) == 3
    assert len(list(CUTTING.feed(2, B.data))) == 3


def test_once_it_has_turned_out_to_be_wrong_the_length_is_an_error():
    run = CUTTING.gen_batch(2)
    next(run)
    with pytest.raises(TypeError, match=r"not known.*'cut'"):
        len(run)
    assert run.n_batches is None
    run.close()


def test_the_length_of_a_feed_is_counted_on_by_its_loops():
    feed = CUTTING.feed(2, B.data)
    assert len(feed) == 1
    with pytest.raises(ActionResultError, match="'cut'"):
        next(iter(feed))


def test_a_feed_remembers_what_its_loops_have_found():
    feed = CUTTING.feed(2, B.data)
    for _ in feed:
        pass
    with pytest.raises(TypeError, match=r"not known.*'cut'"):
        len(feed)


def test_a_length_that_does_not_follow_from_the_items_stands():
    run = OTHERS.cut(5).gen_batch(16)
    assert len(run) == len(list(run)) == 7


def test_an_endless_pipeline_that_is_merged_may_change_its_items():
    other = OTHERS.cut(3).rebatch(5).run_later(4, n_epochs=None)
    run = OTHERS.cut(1).merge(other).gen_batch(16)
    assert len(run) == len(list(run)) == 7


def test_batches_that_keep_their_items_are_as_many_as_was_said():
    run = OTHERS.mine().rebatch(7).gen_batch(16, n_epochs=2)
    assert len(run) == len(list(run)) == 30


def test_behind_discard_batch_the_length_is_not_known():
    with pytest.raises(TypeError, match="not known"):
        len((OTHERS.discard_batch() @ 0.5).rebatch(7).gen_batch(16))


# ---- the progress bar


def test_the_bar_drops_its_total(capsys):
    CUTTING.run(2, bar=True)
    assert "3batch" in capsys.readouterr().err.rpartition("\r")[2]


def test_the_bar_of_a_later_epoch_begins_at_nothing(capsys):
    Dataset(8, Scans).p.init_variable("n", 0).rebatch(3).update(V("n"), V("n") + 1).run(
        4, first_epoch=3, n_epochs=2, bar=True
    )
    assert "6/6" in capsys.readouterr().err


def test_the_bar_goes_past_what_is_left_of_an_epoch(capsys):
    for epoch in Dataset(8, Scans).p.gen_batch(2, n_epochs=3, bar=True).epochs():
        next(epoch)
    assert "9/12" in capsys.readouterr().err
