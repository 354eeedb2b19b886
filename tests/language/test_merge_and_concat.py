"""`merge`: the data of several sources in one batch. `concat`: one source after the other."""

import copy
import gc
import pickle
import re
import threading
import weakref

import numpy as np
import pytest
from laws.conftest import (
    leave_at_the_end,
    leave_before_the_first_batch,
    leave_by_break,
    leave_by_close,
    leave_to_the_garbage_collector,
)

from batchflow import (
    ActionResultError,
    ArrayBatch,
    B,
    Batch,
    C,
    Dataset,
    I,
    Pipeline,
    SkipBatch,
    StopPipeline,
    V,
    action,
)
from batchflow.testing import nothing_left

from .regrouping import Rows, each_prefetch, facts, flat, ids, rows, xs

each_word = pytest.mark.parametrize("word", ["merge", "concat"])


@pytest.fixture
def left():
    return rows(10, 0)


@pytest.fixture
def right():
    return rows(10, 100)


def sources(pipeline, batch_size=4, **options):
    return [batch.source_ids.tolist() for batch in pipeline.gen_batch(batch_size, **options)]


# ---- merge: which batches, which items


@each_prefetch
def test_a_merged_batch_has_the_items_of_one_batch_of_each(left, right, prefetch):
    assert ids(left.p.merge(right), prefetch=prefetch) == [
        [0, 1, 2, 3, 100, 101, 102, 103],
        [4, 5, 6, 7, 104, 105, 106, 107],
        [8, 9, 108, 109],
    ]


def test_several_others_come_in_their_order(left, right):
    assert ids(left.p.merge(right, rows(10, 200)), 1)[3] == [3, 103, 203]


@each_prefetch
def test_it_ends_with_the_other_that_ends_first(left, prefetch):
    assert len(ids(left.p.merge(rows(5, 100)), 4, prefetch=prefetch)) == 2


@each_prefetch
def test_it_ends_with_this_pipeline_if_that_ends_first(left, prefetch):
    assert len(ids(left.p.merge(rows(50, 100)), 4, prefetch=prefetch)) == 3


@each_prefetch
def test_an_endless_other_does_not_end_it(left, prefetch):
    other = rows(3, 100).p.run_later(2, n_epochs=None)
    assert ids(left.p.merge(other), 4, prefetch=prefetch) == [
        [0, 1, 2, 3, 100, 101],
        [4, 5, 6, 7, 102],
        [8, 9, 100, 101],
    ]


def test_an_endless_other_without_a_batch_size_takes_that_of_the_run(left):
    other = rows(4, 100).p.run_later(n_epochs=None)
    assert len(ids(left.p.merge(other), 4)) == 3


def test_two_endless_sources_are_endless(left, right):
    pipeline = left.p.merge(right)
    assert [pipeline.next_batch(4).number for _ in range(10)] == list(range(10))
    pipeline.reset("iter")


@pytest.mark.parametrize(
    ("options", "sizes"),
    [
        ({}, [8, 8, 4]),
        ({"n_epochs": 2}, [8, 8, 4, 8, 8, 4]),
        ({"n_iters": 4}, [8, 8, 4, 8]),
        ({"drop_last": True}, [8, 8]),
        ({"n_iters": 2, "n_epochs": 5}, [8, 8]),
    ],
)
def test_the_options_of_the_run_hold_for_the_others_too(left, right, options, sizes):
    assert list(map(len, ids(left.p.merge(right), 4, **options))) == sizes


def test_the_options_of_run_later_win_over_those_of_the_run(left, right):
    other = right.p.run_later(3, n_epochs=2, drop_last=True)
    assert sources(left.p.merge(other), 4, n_epochs=2)[3] == [0, 1, 2, 3, 100, 101, 102]


def test_an_other_of_n_iters_gives_so_many_batches(left, right):
    assert len(ids(left.p.merge(right.p.run_later(4, n_iters=2)))) == 2


def test_a_dataset_smaller_than_the_batch_gives_a_short_one(left):
    assert ids(left.p.merge(rows(3, 100)), 4) == [[0, 1, 2, 3, 100, 101, 102]]


def test_a_dataset_smaller_than_whole_batches_is_named(left):
    with pytest.raises(ValueError, match="larger than the dataset, which has 3 items") as caught:
        left.p.merge(rows(3, 100)).gen_batch(4, drop_last=True)
    told = str(caught.value) + str(getattr(caught.value, "__notes__", ""))
    assert "merge" in told


# ---- merge: what the new batches are


@each_prefetch
def test_merged_batches_are_numbered_in_a_count_of_their_own(left, right, prefetch):
    pipeline = left.p.signal(SkipBatch, 0).merge(right)
    seen = [(b.number, b.source_numbers) for b in pipeline.gen_batch(4, prefetch=prefetch)]
    assert seen == [(0, (1,)), (1, (2,))]


def test_merged_batches_keep_the_epoch_of_this_pipeline(left, right):
    other = right.p.run_later(4, n_epochs=None)
    epochs = [b.epoch for b in left.p.merge(other).gen_batch(4, n_epochs=2)]
    assert epochs == [0, 0, 0, 1, 1, 1]


def test_common_ids_make_the_index_positional(left):
    batch = next(left.p.merge(left).gen_batch(2))
    assert (batch.indices.tolist(), batch.source_ids.tolist()) == ([0, 1, 2, 3], [0, 1, 0, 1])


def test_ids_of_other_types_are_kept(left):
    names = Dataset.from_arrays(Rows, ["a", "b", "c"], x=np.zeros(3), y=np.zeros(3))
    assert next(left.p.merge(names).gen_batch(2)).indices.tolist() == [0, 1, "a", "b"]


def test_every_component_is_merged(left, right):
    batch = next(left.p.merge(right).gen_batch(2))
    assert (batch.x.tolist(), batch.y.tolist()) == ([0.0, 1, 100, 101], [0, 1, 0, 1])


def test_lists_become_one_list():
    class Lists(Batch):
        components = "words"

        @action
        def fill(self, word):
            self.words = [f"{word}{i}" for i in self.indices]
            return self

    one, two = Dataset(4, Lists).p.fill("a"), Dataset(4, Lists).p.fill("b")
    assert next(one.merge(two).gen_batch(2)).words == ["a0", "a1", "b0", "b1"]


def test_batches_without_data_are_merged():
    batch = next(Dataset(4, Batch).p.merge(Dataset(4, Batch)).gen_batch(2))
    assert (len(batch), batch.data) == (4, None)


@each_prefetch
def test_an_attribute_that_would_be_lost_is_refused_by_name(left, right, prefetch):
    with pytest.raises(ValueError, match=r"attribute 'memory'.*would lose it") as caught:
        left.p.remember().merge(right).run(4, prefetch=prefetch)
    assert f"in merge(<Dataset of 10 items, Rows>), chained at {__file__}" in "\n".join(
        caught.value.__notes__
    )


def test_an_attribute_of_the_other_that_would_be_lost_is_refused_by_name(left, right):
    with pytest.raises(ValueError, match=r"attribute 'memory'.*would lose it"):
        left.p.merge(right.p.remember()).run(4)


def test_batches_with_other_components_are_refused(left):
    class Other(ArrayBatch):
        components = "z"

    other = Dataset.from_arrays(Other, z=np.arange(10))
    with pytest.raises(TypeError, match=r"Rows\.merge: expected batches with the components x, y"):
        left.p.merge(other).run(4)


def test_batches_of_another_class_with_the_same_components_become_this_class(left):
    class Other(ArrayBatch):
        components = "y", "x"

    batch = next(left.p.merge(rows(10, 100, Other)).gen_batch(2))
    assert (type(batch), batch.x.tolist()) == (Rows, [0.0, 1, 100, 101])


def test_a_class_may_merge_in_a_way_of_its_own(right):
    class Sum(Rows):
        @classmethod
        def merge(cls, batches):
            first, *others = batches
            first.x = first.x + sum(other.x for other in others)
            return first

    assert xs(rows(10, 0, Sum).p.merge(right), 2)[1] == [104.0, 106.0]


def test_an_action_called_merge_takes_the_place_of_the_step():
    class Own(Rows):
        @action
        def merge(self, value):
            self.x = self.x * 0 + value
            return self

    own = rows(4, 0, Own)
    assert xs(own.p.merge(3)) == xs(own >> Pipeline().merge(3)) == [[3.0] * 4]


def test_a_class_with_an_action_called_merge_is_still_regrouped():
    class Own(Rows):
        @action
        def merge(self, value):
            raise AssertionError

    assert ids(rows(4, 0, Own).p.rebatch(4), 3) == [[0, 1, 2, 3]]


# ---- merge: fn


def test_the_function_gets_this_batch_first(left, right):
    seen = []

    def put_together(batches):
        seen.append([batch.indices.tolist() for batch in batches])
        return batches[0]

    left.p.merge(right, rows(10, 200), fn=put_together).run(5)
    assert seen[1] == [[5, 6, 7, 8, 9], [*range(105, 110)], [*range(205, 210)]]


@each_prefetch
def test_what_the_function_returns_goes_on_in_this_pipeline(left, right, prefetch):
    pipeline = left.p.init_variable("k", 5).merge(right, fn=lambda two: two[1]).put(V("k"))
    assert facts(pipeline, 5, prefetch=prefetch)[1] == (1, 0, (1,), [*range(105, 110)], [5.0] * 5)


@pytest.mark.parametrize(
    ("what", "shown"), [(None, "NoneType None"), (5, "int 5"), ([], "list")], ids=repr
)
def test_a_function_that_returns_no_batch_is_told_what_it_returned(left, right, what, shown):
    with pytest.raises(TypeError, match=f"must return a batch, got {shown}"):
        left.p.merge(right, fn=lambda two: what).run(4)


@each_prefetch
def test_a_skip_in_the_function_leaves_out_the_merged_batch(left, right, prefetch):
    def skipping(two):
        if 4 in two[0].indices:
            raise SkipBatch
        return two[0]

    pipeline = left.p.merge(right, fn=skipping)
    assert [b.indices[0] for b in pipeline.gen_batch(4, prefetch=prefetch)] == [0, 8]


@each_prefetch
def test_a_stop_in_the_function_ends_the_run(left, right, prefetch):
    def stopping(two):
        if 4 in two[0].indices:
            raise StopPipeline
        return two[0]

    pipeline = left.p.merge(right, fn=stopping)
    assert [b.indices[0] for b in pipeline.gen_batch(4, prefetch=prefetch)] == [0]


@each_prefetch
def test_the_error_of_a_function_says_where(left, right, prefetch):
    def failing(two):
        if 4 in two[0].indices:
            raise OSError("no disk")
        return two[0]

    got = []
    with pytest.raises(OSError, match="no disk") as caught:
        got.extend(left.p.merge(right, fn=failing).gen_batch(4, prefetch=prefetch, seed=1))
    notes = "\n".join(caught.value.__notes__)
    assert "in merge(" in notes
    assert f"chained at {__file__}" in notes
    assert "epoch 0, of the source batches 1" in notes


def test_the_error_of_a_function_tells_the_ids_and_the_replay(left, right):
    with pytest.raises(ZeroDivisionError) as caught:
        left.p.merge(right, fn=lambda two: 1 / 0).run(4, seed=1)
    notes = "\n".join(caught.value.__notes__)
    assert "[0, 1, 2, 3" in notes
    assert "pipeline.replay(0, batch_size=4, seed=1)" in notes


def test_stop_iteration_in_a_function_is_no_silent_end_and_says_where(left, right):
    with pytest.raises(RuntimeError, match="StopIteration") as caught:
        left.p.merge(right, fn=lambda two: next(iter([]))).run(4)
    assert f"chained at {__file__}" in "\n".join(getattr(caught.value, "__notes__", ()))


def test_the_function_runs_in_the_thread_of_the_consumer(left, right):
    threads = []

    def put_together(two):
        threads.append(threading.get_ident())
        return two[0]

    left.p.noise().merge(right.p.noise(), fn=put_together).noise().run(2, prefetch=5)
    assert set(threads) == {threading.get_ident()}


# ---- concat


@each_prefetch
def test_concat_gives_one_source_after_the_other(left, right, prefetch):
    pipeline = left.p.concat(right)
    assert ids(pipeline, 6, prefetch=prefetch) == [
        [*range(6)],
        [*range(6, 10)],
        [*range(100, 106)],
        [*range(106, 110)],
    ]


@each_prefetch
def test_concat_gives_every_epoch_of_all_in_turn(left, right, prefetch):
    pipeline = left.p.concat(right, rows(4, 200))
    seen = [
        (b.number, b.epoch, int(b.indices[0]))
        for b in pipeline.gen_batch(4, n_epochs=2, prefetch=prefetch, drop_last=True)
    ]
    firsts = [0, 4, 100, 104, 200]
    assert seen == [(n, n // 5, first) for n, first in enumerate(firsts * 2)]


def test_concat_of_pieces_without_a_dataset_appends_their_steps(left):
    assert left.p.concat(Pipeline().put(1), Pipeline().noise()) == left.p.put(1).noise()


def test_concat_takes_the_steps_of_each_pipeline_and_then_the_common_ones(left, right):
    pipeline = left.p.put(1).concat(right.p.put(2)).put(B.x + 10)
    assert xs(pipeline, 5) == [[11.0] * 5] * 2 + [[12.0] * 5] * 2


@each_prefetch
def test_concat_follows_an_epoch_whose_last_batch_is_skipped(left, right, prefetch):
    pipeline = left.p.signal(SkipBatch, 9).concat(right)
    assert (
        ids(pipeline, 5, n_epochs=2, prefetch=prefetch)
        == [
            [*range(5)],
            [*range(100, 105)],
            [*range(105, 110)],
        ]
        * 2
    )


@each_prefetch
def test_concat_goes_on_to_the_next_epoch_where_the_last_of_the_other_is_skipped(
    left, right, prefetch
):
    pipeline = left.p.concat(right.p.signal(SkipBatch, 109))
    firsts = [first for first, *_ in ids(pipeline, 5, n_epochs=2, prefetch=prefetch)]
    assert firsts == [0, 5, 100] * 2


@each_prefetch
def test_a_stop_in_the_first_of_concat_ends_the_run(left, right, prefetch):
    assert len(ids(left.p.signal(StopPipeline, 5).concat(right), 5, prefetch=prefetch)) == 1


@each_prefetch
def test_rebatch_behind_concat_mixes_the_sources_of_one_epoch_only(left, right, prefetch):
    pipeline = left.p.concat(right).rebatch(8)
    assert (
        ids(pipeline, 5, n_epochs=2, prefetch=prefetch)
        == [
            [*range(8)],
            [8, 9, *range(100, 106)],
            [*range(106, 110)],
        ]
        * 2
    )


def test_concat_of_a_dataset_with_itself_repeats_it_in_every_epoch(left):
    assert ids(left.p.concat(left), 5) == [[*range(5)], [*range(5, 10)]] * 2


def test_batches_of_another_class_are_refused_where_a_step_of_this_class_follows(left):
    class Other(ArrayBatch):
        components = "z"

    other = Dataset.from_arrays(Other, np.arange(5), z=np.arange(5))
    with pytest.raises((TypeError, ValueError), match="Other"):
        left.p.concat(other).put(1)


def test_batches_of_a_subclass_are_refused_as_its_own_steps_would_not_be_taken(left):
    class Special(Rows):
        @action
        def put(self, value):
            self.x = self.x * 0 - value
            return self

    with pytest.raises((TypeError, ValueError), match="Special"):
        left.p.concat(rows(10, 100, Special)).put(1)


def test_the_error_behind_concat_does_not_lead_to_a_batch_of_another_source(left, right):
    pipeline = left.p.concat(right).fail_at(105)
    with pytest.raises(ValueError, match="no 105") as caught:
        pipeline.run(5, seed=1)
    calls = [note for note in caught.value.__notes__ if "pipeline.replay(1, batch_size=5" in note]
    assert all("inside of it" in note for note in calls)


def wrong_replays(error, pipeline, wanted):
    """Calls in the notes that make batches without any of the wanted ids."""
    notes = [note for note in error.__notes__ if "pipeline.replay(" in note]
    calls = [
        call.split(" (pipeline:")[0]
        for note in notes
        if "inside of it" not in note
        for call in note[note.index("pipeline.replay") :].split("; ")
    ]
    made = [eval(call, {"pipeline": pipeline}).indices.tolist() for call in calls]
    return [items for items in made if not set(items) & set(wanted)]


def test_the_error_behind_concat_and_rebatch_does_not_lead_to_other_batches(left, right):
    pipeline = left.p.concat(right).rebatch(6).fail_at(100)  # with the ids 6 ... 9, 100, 101
    with pytest.raises(ValueError, match="no 100") as caught:
        pipeline.run(4, seed=1)
    assert wrong_replays(caught.value, pipeline, [6, 7, 8, 9, 100, 101]) == []


def test_the_error_of_a_function_behind_concat_does_not_lead_to_other_batches(left, right):
    def failing(batches):
        if 109 in batches[-1].indices:
            raise ValueError("no 109")
        return Rows.merge(batches)

    pipeline = left.p.concat(right).rebatch(6, fn=failing)
    with pytest.raises(ValueError, match="no 109") as caught:
        pipeline.run(4, seed=1)
    assert wrong_replays(caught.value, pipeline, [106, 107, 108, 109]) == []


# ---- chaining and arguments


@each_word
@pytest.mark.parametrize("wrong", [None, 5, "dataset", Rows, [1]], ids=repr)
def test_what_is_no_dataset_is_refused_when_chained(left, word, wrong):
    with pytest.raises(TypeError, match=rf"{word}\(\) takes datasets, or pipelines over one, got"):
        getattr(left.p, word)(wrong)


@each_word
def test_no_argument_is_refused(left, word):
    with pytest.raises(TypeError, match="got none"):
        getattr(left.p, word)()


def test_merge_refuses_a_pipeline_without_a_dataset(left):
    with pytest.raises(TypeError, match="no dataset"):
        left.p.merge(Pipeline().noise())


def test_concat_refuses_a_mixture_of_pieces_and_pipelines(left, right):
    with pytest.raises(TypeError, match="no dataset"):
        left.p.concat(Pipeline().noise(), right)


def test_a_function_that_cannot_be_called_is_refused_when_chained(left, right):
    with pytest.raises(TypeError, match="merge: fn is a function from a list of batches"):
        left.p.merge(right, fn="mean")


def test_a_misspelled_argument_is_refused_when_chained(left, right):
    with pytest.raises(TypeError, match=r"no argument 'func'.*Did you mean 'fn'"):
        left.p.merge(right, func=len)


@each_word
def test_expressions_are_refused_when_chained(left, word):
    with pytest.raises(TypeError, match="not known before a batch is there"):
        getattr(left.p, word)(V("other"))


def test_a_place_to_store_is_refused_when_chained(left, right):
    with pytest.raises(TypeError, match="no value that save_to could store"):
        left.p.merge(right, save_to=B.x)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_there_is_nothing_to_merge_before_and_after_the_batches(left, right, moment):
    with pytest.raises(TypeError, match=f"needs a batch, and .{moment} has none"):
        getattr(left.p, moment).merge(right)


@each_word
def test_a_chance_is_refused(left, right, word):
    with pytest.raises(TypeError, match="cannot be left to the coin of one batch"):
        (getattr(left.p, word)(right) @ 0.5).gen_batch(4)


def test_an_error_in_an_inner_chain_is_told_when_it_is_chained(left, right):
    with pytest.raises(AttributeError, match="no action 'nois'"):
        left.p.merge(right.p.nois())


def test_an_undeclared_variable_of_an_inner_pipeline_is_told_before_the_run(left, right):
    with pytest.raises(KeyError, match="variable 'lost', which is not declared"):
        left.p.merge(right.p.put(V("lost"))).gen_batch(4)


@each_word
def test_a_piece_with_it_goes_over_several_datasets(right, word):
    piece = getattr(Pipeline().put(1), word)(right).put(B.x + 1)
    got = [xs(rows(10, first) >> piece, 10) for first in (0, 50, 0)]
    assert got[0] == got[1] == got[2]


@each_word
def test_an_inner_piece_goes_over_several_datasets(left, word):
    inner = Pipeline().put(B.x * 2)
    one, two = rows(10, 100) >> inner, rows(10, 200) >> inner
    got = xs(getattr(left.p, word)(one, two), 10)
    assert flat(got) == [*range(10), *range(200, 220, 2), *range(400, 420, 2)]


@each_word
def test_algebra(right, word):
    a, c = Pipeline().noise(), Pipeline().put(3)
    b = getattr(Pipeline(), word)(right.p.noise())
    assert (a + b) + c == a + (b + c)
    assert b * 2 == b + b
    assert (a + b) * 2 == a + b + a + b
    assert getattr(Pipeline(), word)(right.p.put(1)) != b


@each_word
def test_a_repeated_merge_merges_twice(left, right, word):
    piece = getattr(Pipeline(), word)(right)
    assert sources(left >> piece * 2) == sources(left >> piece + piece)
    assert sum(map(len, sources(left >> piece * 2))) == 30


@each_word
def test_copies_are_equal(left, right, word):
    pipeline = getattr(left.p, word)(right.p.noise())
    assert pipeline == copy.copy(pipeline) == copy.deepcopy(pipeline)


@each_word
def test_a_pickled_pipeline_gives_the_same_batches(left, right, word):
    pipeline = getattr(left.p.noise(), word)(right.p.noise()).noise()
    options = {"seed": 1, "shuffle": True}
    assert facts(pickle.loads(pickle.dumps(pipeline)), **options) == facts(pipeline, **options)


def test_repr_shows_the_other_on_one_line(left, right):
    lines = repr(left.p.merge(right.p.noise().noise())).splitlines()
    assert len(lines) == 2
    assert lines[1].strip().startswith("0 merge(<Pipeline over <Dataset of 10 items, Rows>>")


# ---- a pipeline with itself, and nesting


@each_prefetch
def test_a_pipeline_merged_with_itself_draws_its_own_numbers(left, prefetch):
    inner = left.p.put(0).noise()
    for x in xs(inner.merge(inner), 4, seed=1, prefetch=prefetch):
        assert len(set(x)) == len(x)


@each_prefetch
def test_an_ordered_pipeline_merged_with_itself_has_one_answer(left, prefetch):
    def trace(**options):
        p = left.p.init_variable("n", 0).noise().count()
        q = p.merge(p).count()
        return facts(q, 4, seed=1, n_epochs=2, **options), p.v("n"), q.v("n")

    assert trace(prefetch=prefetch) == trace(executor="serial")
    assert trace()[1:] == (6, 12)


@each_prefetch
def test_one_inner_pipeline_used_twice_is_read_twice(left, right, prefetch):
    pipeline = left.p.merge(right, right).merge(right)
    assert sources(pipeline, 2, prefetch=prefetch)[1] == [2, 3, 102, 103, 102, 103, 102, 103]


@each_prefetch
def test_merges_nested_three_deep_have_one_answer(left, right, prefetch):
    inner = right.p.noise().merge(rows(10, 200).p.noise().merge(rows(10, 300).p.noise())).noise()
    pipeline = left.p.noise().merge(inner).noise().rebatch(5).noise()
    options = {"seed": 7, "shuffle": True, "n_epochs": 2}
    expected = facts(pipeline, 3, executor="serial", **options)
    assert facts(pipeline, 3, prefetch=prefetch, **options) == expected


@each_prefetch
def test_a_join_in_a_merge_in_a_concat_has_one_answer(left, right, prefetch):
    joined = right.p.noise().join(rows(10, 100).p.noise()).add()
    inner = rows(10, 200).p.noise().merge(joined, rows(10, 300).p.rebatch(3))
    pipeline = left.p.noise().concat(inner.noise()).noise().rebatch(4)
    options = {"seed": 7, "shuffle": True, "n_epochs": 2}
    expected = facts(pipeline, 3, executor="serial", **options)
    assert facts(pipeline, 3, prefetch=prefetch, **options) == expected


@each_prefetch
def test_joined_in_merged_in_joined_is_refused(left, right, prefetch):
    with pytest.raises(ValueError, match="regroups its batches"):
        left.p.join(left.p.merge(right.p.join(right).add()))


# ---- the order of the sources


def orders(outer, *others, **options):
    """The order of each source in the first epoch."""
    seen = []

    def look(batches):
        seen.append([batch.indices.tolist() for batch in batches])
        return batches[0]

    outer.p.merge(*others, fn=look).run(len(outer), **options)
    return seen[0]


def twins(n):
    return [rows(50, 0) for _ in range(n)]


def test_sources_of_one_size_are_shuffled_differently():
    one, two, three = orders(*twins(3), shuffle=True, seed=1)
    assert one != two != three != one
    assert sorted(one) == sorted(two) == sorted(three) == list(range(50))


def test_the_same_seed_shuffles_alike():
    assert orders(*twins(2), shuffle=True, seed=1) == orders(*twins(2), shuffle=True, seed=1)


def test_without_shuffle_every_source_is_in_order():
    assert orders(*twins(2), shuffle=False) == [list(range(50))] * 2


def test_an_int_shuffles_all_sources_and_differently():
    one, two = orders(*twins(2), shuffle=42)
    assert one != two != list(range(50))


def test_an_int_fixes_the_order_of_all_sources_whatever_the_seed():
    assert orders(*twins(2), shuffle=42, seed=1) == orders(*twins(2), shuffle=42, seed=2)


def test_the_int_0_shuffles_too():
    one, two = orders(*twins(2), shuffle=0)
    assert list(range(50)) not in (one, two)


def test_a_function_orders_all_sources():
    assert orders(*twins(2), shuffle=lambda p: p[::-1]) == [list(range(49, -1, -1))] * 2


def test_a_generator_shuffles_as_the_number_that_it_gives():
    rngs = [np.random.default_rng(3) for _ in range(2)]
    one, again = (orders(*twins(2), shuffle=rng) for rng in rngs)
    assert one == again
    assert one[0] != one[1]


def test_the_outer_order_is_as_without_merge():
    alone = next(rows(50, 0).p.gen_batch(50, shuffle=True, seed=1)).indices.tolist()
    assert orders(*twins(2), shuffle=True, seed=1)[0] == alone


@pytest.mark.parametrize("own", [{"shuffle": 5}, {"shuffle": True, "seed": 5}, {"shuffle": False}])
def test_an_inner_pipeline_with_an_order_of_its_own_keeps_it(own):
    outer, inner = twins(2)
    later = inner.p.run_later(50, **own)
    one, two = (orders(outer, later, shuffle=True, seed=seed) for seed in (1, 2))
    assert one[0] != two[0]
    assert one[1] == two[1]


def test_an_inner_pipeline_with_a_seed_of_its_own_draws_the_same_in_every_run(left, right):
    inner = right.p.put(0).noise().run_later(10, seed=5)
    runs = [xs(left.p.merge(inner), 10, seed=seed)[0][10:] for seed in (1, 2)]
    assert runs[0] == runs[1]


def test_an_inner_pipeline_without_a_seed_takes_that_of_the_run(left, right):
    inner = right.p.put(0).noise()
    runs = [xs(left.p.merge(inner), 10, seed=seed)[0][10:] for seed in (1, 2, 1)]
    assert runs[0] == runs[2] != runs[1]


@each_word
def test_random_numbers_behind_it_are_not_those_of_the_sources(left, right, word):
    pipeline = getattr(left.p.put(0).noise().put(B.y * 0 + B.x), word)(right.p.put(0).noise())
    before = flat(xs(pipeline, 10, seed=1))
    after = flat(xs(getattr(left.p.put(0), word)(right.p.put(0)).noise(), 10, seed=1))
    assert not set(before) & set(after)


@each_word
def test_it_does_not_change_what_the_outer_source_draws(left, right, word):
    alone = xs(left.p.noise(), 5, seed=1)
    beside = xs(getattr(left.p.noise(), word)(right.p.noise()), 5, seed=1)
    assert [x[:5] for x in beside[:2]] == alone


# ---- variables, config, progress


@each_prefetch
@each_word
def test_an_ordered_inner_pipeline_orders_the_step(left, right, word, prefetch):
    inner = right.p.init_variable("seen", init=list).update(V("seen", "a"), B.number)
    pipeline = getattr(left.p.noise(), word)(inner).noise()
    assert "ordered section" in repr(pipeline)
    pipeline.run(4, n_epochs=2, prefetch=prefetch)
    assert inner.v("seen") == list(range(6))


@each_word
def test_an_inner_pipeline_that_is_not_ordered_orders_nothing(left, right, word):
    inner = right.p.init_variable("k", 2).put(V("k")).noise()
    assert "ordered section" not in repr(getattr(left.p, word)(inner).noise())


@each_prefetch
def test_nothing_ordered_in_a_merge_runs_ahead_of_the_batch_in_hand(left, right, prefetch):
    inner = right.p.init_variable("n", 0).count()
    pipeline = left.p.init_variable("n", 0).noise().count().merge(inner).noise()
    for batch in pipeline.gen_batch(4, n_epochs=2, prefetch=prefetch):
        assert pipeline.v("n") == inner.v("n") == batch.number + 1


@each_prefetch
def test_nothing_ordered_in_a_concat_runs_ahead_of_the_batch_in_hand(left, right, prefetch):
    inner = right.p.init_variable("n", 0).count()
    pipeline = left.p.init_variable("n", 0).count().concat(inner).noise()
    seen = [
        (pipeline.v("n"), inner.v("n"))
        for _ in pipeline.gen_batch(5, n_epochs=2, prefetch=prefetch)
    ]
    assert seen == [(1, 0), (2, 0), (2, 1), (2, 2), (3, 2), (4, 2), (4, 3), (4, 4)]


@each_prefetch
def test_variables_of_an_inner_pipeline_that_start_anew_do_so_in_each_run(left, right, prefetch):
    inner = right.p.init_variable("n", init_on_each_run=int).count()
    for _ in range(2):
        left.p.merge(inner).run(4, prefetch=prefetch)
        assert inner.v("n") == 3


def test_variables_config_and_models_of_the_outer_pipeline_are_there_behind_it(left, right):
    class Keep:
        def train(self, x):
            self.seen = x.tolist()

    pipeline = ({"k": 3} >> left.p.init_variable("v", 4)).init_model("net", Keep).merge(right)
    pipeline = pipeline.put(C("k") * V("v")).train_model("net", B.x)
    pipeline.run(10)
    assert pipeline.m("net").seen == [12.0] * 20


@each_prefetch
def test_progress_in_an_inner_pipeline_counts_its_own_batches(left, right, prefetch):
    inner = right.p.put(I.current + 10 * I.max)
    assert [x[-1] for x in xs(left.p.merge(inner), prefetch=prefetch)] == [31.0, 32.0, 33.0]


def test_progress_behind_a_merge_counts_merged_batches(left, right):
    assert [x[0] for x in xs(left.p.merge(right).put(I.current))] == [1.0, 2.0, 3.0]


# ---- the length of a run


@pytest.mark.parametrize(
    ("build", "options"),
    [
        (lambda p, o: p.merge(o), {"n_epochs": 2}),
        (lambda p, o: p.merge(rows(5, 100)), {"n_epochs": 3}),
        (lambda p, o: p.merge(rows(5, 100).p.run_later(2, n_epochs=None)), {"n_epochs": 3}),
        (lambda p, o: p.merge(o.p.rebatch(3)), {"n_epochs": 2}),
        (lambda p, o: p.merge(o, o.p.run_later(4, n_iters=2)), {}),
        (lambda p, o: p.merge(o), {"n_iters": 5}),
        (lambda p, o: p.concat(o), {"n_epochs": 2}),
        (lambda p, o: p.concat(o.p.run_later(4, n_epochs=1)), {"n_epochs": 2}),
        (lambda p, o: p.concat(o.p.run_later(4, n_epochs=3)), {}),
        (lambda p, o: p.concat(o), {"n_iters": 2, "n_epochs": 2}),
        (lambda p, o: p.concat(o), {"n_iters": 4, "n_epochs": 2}),
    ],
)
def test_the_length_of_a_run_is_the_number_of_its_batches(left, right, build, options):
    run = build(left.p, right).gen_batch(4, **options)
    assert len(run) == len(list(run))


@pytest.mark.parametrize(
    "build",
    [lambda p, o: p.merge(o).rebatch(3), lambda p, o: p.merge(o.p.filter(B.y > 3).rebatch(2))],
)
def test_a_length_that_is_not_known_is_not_told(left, right, build):
    run = build(left.p, right).gen_batch(4)
    try:
        length = len(run)
    except TypeError as error:
        assert "not known" in str(error)  # noqa: PT017  either is right
    else:
        assert length == len(list(run))


def test_an_endless_merge_has_no_length(left, right):
    with pytest.raises(TypeError, match="endless"):
        len(left.p.merge(right).gen_batch(4, n_epochs=None))


# ---- skips, stops, errors


PLACES = {
    "before the merge": lambda left, right, step: step(left.p.noise(), 5).merge(right),
    "in the other": lambda left, right, step: left.p.noise().merge(step(right.p, 105)),
    "in the ordered other": lambda left, right, step: left.p.noise().merge(
        step(right.p.init_variable("n", 0).count(), 105)
    ),
    "behind the merge": lambda left, right, step: step(left.p.merge(right).noise(), 5),
    "behind an ordered step": lambda left, right, step: step(
        left.p.init_variable("n", 0).count().merge(right), 5
    ),
    "in the joined of the other": lambda left, right, step: left.p.noise().merge(
        right.p.join(step(rows(10, 100).p, 105)).add()
    ),
    "two levels down": lambda left, right, step: left.p.noise().merge(
        rows(10, 200).p.merge(step(right.p, 105))
    ),
}
each_place = pytest.mark.parametrize("place", PLACES)


@each_prefetch
@each_place
def test_a_stop_ends_the_run_before_its_batch(left, right, prefetch, place):
    pipeline = PLACES[place](left, right, lambda p, at: p.signal(StopPipeline, at))
    with nothing_left():
        assert len(ids(pipeline, 2, prefetch=prefetch)) == 2


@each_prefetch
@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("before the merge", [(0, 100), (2, 102), (6, 104), (8, 106)]),
        ("in the other", [(0, 100), (2, 102), (4, 106), (6, 108)]),
        ("in the ordered other", [(0, 100), (2, 102), (4, 106), (6, 108)]),
        ("behind the merge", [(0, 100), (2, 102), (6, 106), (8, 108)]),
        ("behind an ordered step", [(0, 100), (2, 102), (6, 106), (8, 108)]),
    ],
)
def test_a_skip_leaves_out_one_batch_of_its_stream(left, right, prefetch, place, expected):
    pipeline = PLACES[place](left, right, lambda p, at: p.signal(SkipBatch, at))
    assert [(b[0], b[2]) for b in ids(pipeline, 2, prefetch=prefetch)] == expected


@each_prefetch
@each_place
def test_an_error_comes_after_the_batches_before_it(left, right, prefetch, place):
    pipeline = PLACES[place](left, right, lambda p, at: p.signal(OSError("no disk"), at))
    numbers = []
    with nothing_left(), pytest.raises(OSError, match="no disk") as caught:
        for batch in pipeline.gen_batch(2, prefetch=prefetch):
            numbers.append(batch.number)
    assert numbers == [0, 1]
    assert f"in the action 'signal', chained at {__file__}" in "\n".join(caught.value.__notes__)


@each_prefetch
def test_an_error_in_the_other_names_its_own_batch(left, right, prefetch):
    with pytest.raises(ValueError, match="no 105") as caught:
        left.p.merge(right.p.fail_at(105)).run(2, prefetch=prefetch, seed=3)
    notes = "\n".join(caught.value.__notes__)
    assert "batch 2, epoch 0, 2 items with the ids [104, 105]" in notes
    assert re.search(
        r"pipeline\.replay\(2, batch_size=2, seed=\d+\) \(pipeline: the one over", notes
    )
    assert "the one over <Dataset of 10 items, Rows> inside of it" in notes


@each_prefetch
def test_an_error_behind_the_merge_tells_the_source_batches(left, right, prefetch):
    pipeline = left.p.signal(SkipBatch, 0).merge(right).fail_at(5)
    with pytest.raises(ValueError, match="no 5") as caught:
        pipeline.run(2, prefetch=prefetch, seed=3)
    notes = "\n".join(caught.value.__notes__)
    assert "batch 1 (of the source batches 2), epoch 0, 4 items with the ids [4, 5, 102" in notes
    assert "pipeline.replay(2, batch_size=2, seed=3)" in notes


def replayed(error, pipeline):
    note = next(note for note in error.__notes__ if "pipeline.replay(" in note)
    call = note[note.index("pipeline.replay") :].split(" (pipeline:")[0]
    return eval(call, {"pipeline": pipeline})


@each_prefetch
@pytest.mark.parametrize("shuffle", [False, True, 3])
def test_the_replay_of_an_error_in_the_other_makes_the_same_batch(left, right, prefetch, shuffle):
    inner = right.p.noise().fail_at(105)
    with pytest.raises(ValueError, match="no 105") as caught:
        left.p.merge(inner).run(2, prefetch=prefetch, shuffle=shuffle, seed=4)
    with pytest.raises(ValueError, match="no 105") as again:
        replayed(caught.value, inner)
    assert str(again.value) == str(caught.value)


def test_the_replay_of_an_error_in_the_first_makes_the_same_batch(left, right):
    pipeline = left.p.noise().fail_at(5).merge(right.p.noise())
    with pytest.raises(ValueError, match="no 5") as caught:
        pipeline.run(2, shuffle=True, prefetch=2)
    with pytest.raises(ValueError, match="no 5") as again:
        replayed(caught.value, pipeline)
    assert str(again.value) == str(caught.value)


def test_replay_gives_the_batch_as_it_comes_to_the_merge(left, right):
    pipeline = left.p.noise().merge(right).put(0)
    again = pipeline.replay(2, 4, seed=1)
    alone = xs(left.p.noise(), 4, seed=1)[2]
    assert again.x.tolist() == alone


# ---- before and after


def test_before_and_after_of_an_inner_pipeline_are_taken(left, right):
    log = []
    inner = right.p.before.call(log.append, "before").main.after.call(log.append, "after").main
    left.p.merge(inner).run(4)
    assert log == ["before", "after"]


def test_after_of_an_inner_pipeline_is_taken_when_that_of_the_outer_fails(left, right):
    log = []
    inner = right.p.after.call(log.append, "after").main
    outer = left.p.merge(inner).after.call(lambda: 1 / 0).main
    with pytest.raises(ZeroDivisionError):
        outer.run(4)
    assert log == ["after"]


def test_after_of_all_inner_pipelines_is_taken_when_that_of_one_fails(left, right):
    log = []
    failing = right.p.after.call(lambda: 1 / 0).main
    last = rows(10, 200).p.after.call(log.append, "after").main
    with pytest.raises(ZeroDivisionError):
        left.p.merge(failing, last).run(4)
    assert log == ["after"]


def test_after_of_an_inner_pipeline_is_taken_on_break(left, right):
    log = []
    inner = right.p.after.call(log.append, "after").main
    with left.p.merge(inner).gen_batch(4, prefetch=2) as run:
        next(run)
    assert log == ["after"]


# ---- ends


def leave_by_an_exception(run):
    with pytest.raises(KeyboardInterrupt):
        for _ in run:
            raise KeyboardInterrupt


WAYS = [
    leave_at_the_end,
    leave_by_break,
    leave_by_close,
    leave_to_the_garbage_collector,
    leave_before_the_first_batch,
    leave_by_an_exception,
]


@each_prefetch
@each_word
@pytest.mark.parametrize("way", WAYS)
def test_every_way_out_leaves_nothing(left, right, prefetch, word, way):
    inner = right.p.noise().rebatch(3).init_variable("n", 0).count()
    pipeline = getattr(left.p.noise(), word)(inner).noise().rebatch(2).noise()
    with nothing_left():
        for _ in range(3):
            way(pipeline.gen_batch(4, prefetch=prefetch, n_epochs=2))


@each_word
def test_an_abandoned_run_is_collected(left, right, word):
    run = getattr(left.p.noise(), word)(right.p.noise()).noise().gen_batch(2, prefetch=2)
    next(run)
    gone = weakref.ref(run)
    del run
    gc.collect()
    assert gone() is None


@each_prefetch
@pytest.mark.parametrize("where", ["first", "other", "behind", "fn"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, MemoryError])
def test_no_exception_is_swallowed(left, right, prefetch, where, error):
    def failing(two):
        raise error

    pipelines = {
        "first": left.p.signal(error, 5).merge(right),
        "other": left.p.merge(right.p.signal(error, 105)),
        "behind": left.p.merge(right).signal(error, 5),
        "fn": left.p.merge(right, fn=failing),
    }
    with nothing_left(), pytest.raises(error):
        pipelines[where].run(2, prefetch=prefetch)


# ---- two runs


@each_word
def test_two_runs_at_once_do_not_disturb_each_other(left, right, word):
    pipeline = getattr(left.p.noise(), word)(right.p.noise()).noise()
    options = {"seed": 1, "shuffle": True, "n_epochs": 2}
    expected = xs(pipeline, 3, **options)
    runs = [pipeline.gen_batch(3, prefetch=n, **options) for n in (2, 5)]
    assert [(a.x.tolist(), b.x.tolist()) for a, b in zip(*runs, strict=True)] == [
        (x, x) for x in expected
    ]


def test_two_threads_may_run_one_pipeline_with_an_ordered_inner_one(left, right):
    inner = right.p.init_variable("n", 0).count()
    pipeline = left.p.noise().merge(inner).noise()
    threads = [
        threading.Thread(target=pipeline.run, args=(2,), kwargs={"prefetch": 2}) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert inner.v("n") == 20


def test_execute_for_says_that_it_cannot(left, right):
    with pytest.raises(ValueError, match=r"execute_for: merge\(.*run the pipeline instead"):
        left.p.merge(right).execute_for(left.create_batch([1]))


# ---- orders that keep a state, and epochs that begin later


class _Counting:
    """An order that draws on from where it was."""

    def __init__(self):
        self._rng = np.random.default_rng(0)

    def __call__(self, positions):
        return self._rng.permutation(positions)


@pytest.mark.parametrize("word", ["concat", "merge"])
def test_an_order_with_a_state_is_each_pipelines_own(word):
    one, other = Dataset(12).p, Dataset(8).p
    pipeline = getattr(one, word)(other.run_later(3, n_epochs=None) if word == "merge" else other)

    def ids(**options):
        batches = pipeline.gen_batch(3, shuffle=_Counting(), **options)
        return [(batch.epoch, batch.source_ids.tolist()) for batch in batches]

    whole = ids(n_epochs=3)
    assert all(ids(n_epochs=3, prefetch=prefetch) == whole for prefetch in (1, 4, 8))
    assert ids(n_epochs=2, first_epoch=1) == [pair for pair in whole if pair[0] >= 1]


def test_a_skip_ahead_of_a_merge_is_told_where_epochs_begin_later():
    def skip(batch):
        if batch.number % 2:
            raise SkipBatch
        return batch

    skipping = Dataset(12).p.map(skip, over="batches")
    pipeline = skipping.merge(Dataset(8).p.run_later(2, n_epochs=None))
    assert len(list(pipeline.gen_batch(3, n_epochs=2))) == 4
    with pytest.raises(ActionResultError, match="skipped the batch 5, so with first_epoch"):
        list(pipeline.gen_batch(3, first_epoch=1))


def test_a_merge_behind_a_rebatch_that_drops_all_has_no_batches():
    pipeline = rows(4).p.rebatch(5).merge(rows(4).p)
    assert list(pipeline.gen_batch(1, drop_last=True, n_epochs=2)) == []
