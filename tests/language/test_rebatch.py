"""`rebatch`: batches of another size, never with items of two epochs."""

import copy
import gc
import pickle
import threading
import weakref

import numpy as np
import pytest
from laws.conftest import (
    leave_at_the_end,
    leave_by_break,
    leave_by_close,
    leave_to_the_garbage_collector,
)

from batchflow import (
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

from .regrouping import Rows, each_prefetch, facts, flat, ids, rows


@pytest.fixture
def dataset():
    return rows()


def sizes(pipeline, batch_size=4, **options):
    return [len(batch) for batch in pipeline.gen_batch(batch_size, **options)]


# ---- sizes and epochs


@each_prefetch
@pytest.mark.parametrize("batch_size", [1, 3, 4, 10])
def test_batches_have_the_new_size_and_every_item_once_in_order(dataset, prefetch, batch_size):
    sizes = range(1, 12)
    got = {size: ids(dataset.p.rebatch(size), batch_size, prefetch=prefetch) for size in sizes}
    assert got == {
        size: [[*range(start, min(start + size, 10))] for start in range(0, 10, size)]
        for size in sizes
    }


@each_prefetch
@pytest.mark.parametrize("size", [3, 7, 10, 25])
@pytest.mark.parametrize("shuffle", [False, True])
def test_no_batch_has_items_of_two_epochs(dataset, prefetch, size, shuffle):
    seen = {}
    run = dataset.p.rebatch(size).gen_batch(4, n_epochs=3, prefetch=prefetch, shuffle=shuffle)
    for batch in run:
        seen.setdefault(batch.epoch, []).extend(batch.indices.tolist())
    assert [sorted(items) for items in seen.values()] == [list(range(10))] * 3


def test_items_come_in_the_order_of_the_source_batches(dataset):
    options = {"shuffle": True, "seed": 1, "n_epochs": 2}
    assert flat(ids(dataset.p.rebatch(3), **options)) == flat(ids(dataset.p, **options))


@pytest.mark.parametrize(
    ("own", "of_run", "expected"),
    [
        (None, False, [3, 3, 3, 1] * 2),
        (None, True, [3, 3] * 2),
        (True, False, [3, 3, 3] * 2),
        (False, True, [3, 3, 2] * 2),
    ],
)
@each_prefetch
def test_the_remainder_of_an_epoch_is_short_or_dropped(dataset, own, of_run, expected, prefetch):
    pipeline = dataset.p.rebatch(3, drop_last=own)
    assert sizes(pipeline, n_epochs=2, drop_last=of_run, prefetch=prefetch) == expected


def test_epochs_of_less_than_a_batch_are_dropped_whole(dataset):
    assert sizes(dataset.p.rebatch(11, drop_last=True), n_epochs=3) == []


@each_prefetch
@pytest.mark.parametrize(
    ("n_iters", "expected"), [(1, [3, 1]), (3, [3, 3, 3, 1]), (4, [3, 3, 3, 1, 3, 1])]
)
def test_n_iters_counts_source_batches(dataset, prefetch, n_iters, expected):
    assert sizes(dataset.p.rebatch(3), n_iters=n_iters, prefetch=prefetch) == expected


def test_the_remainder_at_the_end_of_n_iters_is_dropped_with_drop_last(dataset):
    assert sizes(dataset.p.rebatch(3, drop_last=True), n_iters=1) == [3]


@each_prefetch
def test_the_remainder_of_the_last_batch_comes_when_that_is_skipped(dataset, prefetch):
    pipeline = dataset.p.signal(SkipBatch, 9).rebatch(5)
    assert ids(pipeline, n_epochs=2, prefetch=prefetch) == [[*range(5)], [5, 6, 7]] * 2


@each_prefetch
@pytest.mark.parametrize("place", ["section", "rest", "behind another"])
def test_an_epoch_ends_where_an_ordered_or_later_step_skips_its_last_batch(
    dataset, prefetch, place
):
    counted = dataset.p.init_variable("n", 0).count()
    pipeline = {
        "section": counted.signal(SkipBatch, 9).count().rebatch(5),
        "rest": counted.signal(SkipBatch, 9).rebatch(5),
        "behind another": dataset.p.rebatch(2).rebatch(4).signal(SkipBatch, 9).rebatch(5),
    }[place]
    got = ids(pipeline, n_epochs=2, prefetch=prefetch)
    assert got == [[*range(5)], [5, 6, 7]] * 2


@each_prefetch
def test_an_epoch_of_skips_only_is_empty(dataset, prefetch):
    pipeline = dataset.p.filter(lambda b: b.epoch != 1, over="batches").rebatch(6)
    epochs = [b.epoch for b in pipeline.gen_batch(4, n_epochs=3, prefetch=prefetch)]
    assert epochs == [0, 0, 2, 2]


@each_prefetch
def test_filtered_items_are_made_up_to_full_batches(dataset, prefetch):
    pipeline = dataset.p.filter(B.y % 2 == 0).rebatch(3)
    assert ids(pipeline, n_epochs=2, prefetch=prefetch) == [[0, 2, 4], [6, 8]] * 2


def test_run_epochs_without_end(dataset):
    pipeline = dataset.p.rebatch(6)
    assert [len(pipeline.next_batch(4)) for _ in range(6)] == [6, 4] * 3
    pipeline.reset("iter")


@each_prefetch
def test_two_in_a_row(dataset, prefetch):
    pipeline = dataset.p.rebatch(3).rebatch(5)
    assert ids(pipeline, n_epochs=2, prefetch=prefetch) == [[*range(5)], [*range(5, 10)]] * 2


def test_drop_last_of_the_first_of_two_in_a_row(dataset):
    assert (
        ids(dataset.p.rebatch(4, drop_last=True).rebatch(3), n_epochs=2)
        == [
            [0, 1, 2],
            [3, 4, 5],
            [6, 7],
        ]
        * 2
    )


# ---- what the new batches are


def test_they_are_numbered_from_0_through_the_epochs_and_know_their_sources(dataset):
    seen = [f[:3] for f in facts(dataset.p.rebatch(6), n_epochs=2)]
    assert seen == [(0, 0, (0, 1)), (1, 0, (1, 2)), (2, 1, (3, 4)), (3, 1, (4, 5))]


def test_the_sources_of_two_in_a_row_are_source_batches(dataset):
    _, second = (f[2] for f in facts(dataset.p.rebatch(3).rebatch(5)))
    assert {1, 2} <= {*second} <= {0, 1, 2}  # what a batch in between was made of counts as one


def test_parts_of_a_batch_know_its_number(dataset):
    assert [f[2] for f in facts(dataset.p.rebatch(2), 6)] == [(0,), (0,), (0,), (1,), (1,)]


def test_skipped_source_batches_keep_their_numbers(dataset):
    seen = [(f[0], f[2]) for f in facts(dataset.p.signal(SkipBatch, 5).rebatch(3))]
    assert seen == [(0, (0,)), (1, (0, 2))]


def test_they_have_the_class_of_the_dataset(dataset):
    assert {type(batch) for batch in dataset.p.rebatch(3).gen_batch(4)} == {Rows}


def test_they_have_the_dataset_and_the_pipeline(dataset):
    pipeline = dataset.p.rebatch(3)
    batch = next(pipeline.gen_batch(4))
    assert (batch.dataset, batch.pipeline) == (dataset, pipeline)


@each_prefetch
def test_variables_config_and_progress_are_there_behind_it(dataset, prefetch):
    pipeline = {"k": 100} >> dataset.p.init_variable("v", 1000).rebatch(5)
    pipeline = pipeline.put(C("k") + V("v") + I.current)
    assert [f[4][0] for f in facts(pipeline, prefetch=prefetch)] == [1101.0, 1102.0]


def test_they_share_no_array_with_the_source_batches(dataset):
    held = []
    pipeline = dataset.p.call(held.append, B.x).rebatch(4).put(B.x)
    for batch in pipeline.gen_batch(4):
        batch.x[:] = -1
    assert min(x.min() for x in held) == 0


def test_batches_without_data_are_rebatched():
    assert ids(Dataset(10, Batch).p.rebatch(3)) == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9]]


def test_lists_are_divided_and_put_together():
    class Words(Batch):
        components = "words", "empty"

        @action
        def fill(self):
            self.words = [f"w{i}" for i in self.indices]
            return self

    got = [b.words for b in Dataset(5, Words).p.fill().rebatch(3).gen_batch(2)]
    assert got == [["w0", "w1", "w2"], ["w3", "w4"]]


def test_ids_of_any_type_are_kept():
    names = ["b", "a", "d", "c"]
    assert ids(Dataset(names).p.rebatch(3), 2) == [["b", "a", "d"], ["c"]]


def test_common_ids_make_the_index_positional_and_stay_in_source_ids(dataset):
    batch = next(dataset.p.concat(dataset).rebatch(20).gen_batch(5))
    assert batch.indices.tolist() == list(range(20))
    assert batch.source_ids.tolist() == list(range(10)) * 2


def test_source_ids_survive_a_division(dataset):
    run = dataset.p.concat(dataset).rebatch(20).rebatch(6).gen_batch(5)
    assert flat(b.source_ids.tolist() for b in run) == list(range(10)) * 2


@pytest.mark.parametrize("size", [2, 3, 4, 5])
@each_prefetch
def test_an_attribute_that_would_be_lost_is_refused_by_name_and_place(dataset, size, prefetch):
    with pytest.raises(ValueError, match=r"attribute 'memory'.*would lose it") as caught:
        dataset.p.remember().rebatch(size).run(4, prefetch=prefetch)
    notes = "\n".join(getattr(caught.value, "__notes__", ()))
    assert f"in rebatch({size}), chained at {__file__}" in notes
    assert "of the source batches 0" in notes


def test_an_attribute_that_is_dropped_before_is_no_loss():
    class Forgetful(Rows):
        @action
        def forget(self):
            del self.memory
            return self

    assert sizes(rows(cls=Forgetful).p.remember().forget().rebatch(3)) == [3, 3, 3, 1]


def test_a_component_that_cannot_be_divided_is_refused_by_name_and_place():
    class Whole(Batch):
        components = "scale"

        @action
        def fill(self):
            self.scale = 5
            return self

    with pytest.raises(ValueError, match=r"Whole\.scale: expected an array or a list") as caught:
        Dataset(10, Whole).p.fill().rebatch(3).run(4)
    assert "in rebatch(3), chained at" in "\n".join(getattr(caught.value, "__notes__", ()))


def test_batches_that_an_action_made_of_another_class_become_this_class_again():
    class Wide(Rows):
        pass

    class Narrow(Rows):
        @action
        def widen(self):
            other = Wide(self.index)
            other.x, other.y = self.x, self.y
            return other

    assert {type(b) for b in rows(cls=Narrow).p.widen().rebatch(3).gen_batch(4)} == {Narrow}


def test_a_class_may_merge_in_a_way_of_its_own():
    class Tagged(Rows):
        @classmethod
        def merge(cls, batches):
            merged = super().merge(batches)
            merged.x = merged.x + 100 * len(batches)
            return merged

    got = [f[4] for f in facts(rows(4, cls=Tagged).p.rebatch(3), 2)]
    assert got == [[200.0, 201.0, 202.0], [103.0]]


# ---- fn


def test_the_function_gets_the_batches_and_parts_that_make_up_the_size(dataset):
    seen = []

    def put_together(batches):
        seen.append([batch.indices.tolist() for batch in batches])
        return Rows.merge(batches)

    dataset.p.rebatch(6, put_together).run(4)
    assert seen == [[[0, 1, 2, 3], [4, 5]], [[6, 7], [8, 9]]]


@each_prefetch
def test_the_function_makes_the_batch(dataset, prefetch):
    pipeline = dataset.p.rebatch(6, fn=lambda batches: batches[-1]).put(B.number)
    assert facts(pipeline, prefetch=prefetch) == [
        (0, 0, (0, 1), [4, 5], [0.0, 0.0]),
        (1, 0, (1, 2), [8, 9], [1.0, 1.0]),
    ]


@each_prefetch
@pytest.mark.parametrize(("at", "left"), [(0, [6]), (6, [0]), (9, [0])])
def test_a_skip_in_the_function_leaves_out_its_batch(dataset, prefetch, at, left):
    def skipping(batches):
        if at in np.concatenate([batch.indices for batch in batches]):
            raise SkipBatch
        return Rows.merge(batches)

    got = ids(dataset.p.rebatch(6, skipping).rebatch(20), n_epochs=2, prefetch=prefetch)
    assert [items[0] for items in got] == left * 2


@each_prefetch
def test_a_stop_in_the_function_ends_the_run(dataset, prefetch):
    def stopping(batches):
        if batches[0].epoch:
            raise StopPipeline
        return Rows.merge(batches)

    assert len(ids(dataset.p.rebatch(6, stopping), n_epochs=3, prefetch=prefetch)) == 2


@each_prefetch
def test_the_error_of_a_function_comes_in_its_turn_and_says_where(dataset, prefetch):
    def failing(batches):
        if 9 in batches[-1].indices:
            raise OSError("no disk")
        return Rows.merge(batches)

    got = []
    with nothing_left(), pytest.raises(OSError, match="no disk") as caught:
        for batch in dataset.p.rebatch(6, failing).noise().gen_batch(4, prefetch=prefetch):
            got.append(batch.number)
    assert got == [0]
    notes = "\n".join(caught.value.__notes__)
    assert f"chained at {__file__}" in notes
    assert "epoch 0, of the source batches 1, 2" in notes


def test_the_error_of_a_function_tells_the_ids_and_the_replay(dataset):
    with pytest.raises(ZeroDivisionError) as caught:
        dataset.p.rebatch(6, lambda batches: 1 / 0).run(4, seed=1)
    notes = "\n".join(caught.value.__notes__)
    assert "0, 1, 2, 3, 4, 5" in notes
    assert "pipeline.replay(1, batch_size=4, seed=1)" in notes


def test_stop_iteration_in_a_function_is_no_silent_end_and_says_where(dataset):
    with pytest.raises(RuntimeError, match="StopIteration") as caught:
        dataset.p.rebatch(6, lambda batches: next(iter([]))).run(4)
    assert f"chained at {__file__}" in "\n".join(getattr(caught.value, "__notes__", ()))


@pytest.mark.parametrize("what", [None, 5, []], ids=repr)
def test_a_function_that_returns_no_batch_is_told_what_it_returned(dataset, what):
    with pytest.raises(TypeError, match=f"must return a batch, got {type(what).__name__}"):
        dataset.p.rebatch(3, fn=lambda batches: what).run(4)


# ---- arguments


@pytest.mark.parametrize("wrong", [0, -1], ids=repr)
def test_impossible_sizes_are_refused_when_chained(dataset, wrong):
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        dataset.p.rebatch(wrong)


@pytest.mark.parametrize("wrong", [2.0, "3", True, None, [3], np.array([1, 2])], ids=repr)
def test_sizes_that_are_no_whole_numbers_are_refused_when_chained(dataset, wrong):
    with pytest.raises(TypeError, match="batch_size must be a whole number, got"):
        dataset.p.rebatch(wrong)


@pytest.mark.parametrize("wrong", ["no", 1, 0, np.array([1, 2])], ids=repr)
def test_drop_last_is_a_truth_value_or_none(dataset, wrong):
    with pytest.raises(TypeError, match="drop_last is True, False or None"):
        dataset.p.rebatch(3, drop_last=wrong)


@pytest.mark.parametrize("right", [True, np.True_], ids=repr)
def test_a_truth_value_of_numpy_is_one(dataset, right):
    assert sizes(dataset.p.rebatch(3, drop_last=right)) == [3, 3, 3]


def test_numpy_integers_are_sizes(dataset):
    assert sizes(dataset.p.rebatch(np.int64(6))) == [6, 4]


def test_a_function_that_cannot_be_called_is_refused_when_chained(dataset):
    with pytest.raises(TypeError, match="rebatch: fn is a function from a list of batches"):
        dataset.p.rebatch(3, fn=5)


def test_expressions_are_refused_when_chained(dataset):
    with pytest.raises(TypeError, match=r"C\('n'\) is not known before a batch is there"):
        dataset.p.rebatch(C("n"))


def test_a_misspelled_argument_is_refused_when_chained(dataset):
    with pytest.raises(TypeError, match=r"rebatch\(\): no argument 'droplast'.*'drop_last'"):
        dataset.p.rebatch(3, droplast=True)


def test_a_wrong_argument_of_a_piece_is_refused_with_its_place_when_it_meets_a_dataset(dataset):
    piece = Pipeline().rebatch(0)
    with pytest.raises(ValueError, match="batch_size must be at least 1") as caught:
        dataset >> piece
    assert __file__ in str(caught.value) + str(getattr(caught.value, "__notes__", ""))


def test_a_chance_is_refused(dataset):
    with pytest.raises(TypeError, match="cannot be left to the coin of one batch"):
        (dataset.p.rebatch(3) @ 0.5).gen_batch(4)


def test_execute_for_says_that_it_cannot(dataset):
    with pytest.raises(ValueError, match=r"execute_for: rebatch\(3\).*run the pipeline instead"):
        dataset.p.rebatch(3).execute_for(dataset.create_batch([1]))


def test_an_action_called_rebatch_takes_the_place_of_the_step():
    class Own(Rows):
        @action
        def rebatch(self, value):
            self.x = self.x * 0 + value
            return self

    own = rows(4, cls=Own)
    assert facts(own.p.rebatch(3)) == facts(own >> Pipeline().rebatch(3))
    assert facts(own.p.rebatch(3))[0][4] == [3.0] * 4


# ---- a pipeline with it as a value


def test_algebra():
    a, b, c = Pipeline().noise(), Pipeline().rebatch(3), Pipeline().put(1)
    assert (a + b) + c == a + (b + c)
    assert (a + b) * 2 == a + b + a + b
    assert Pipeline().rebatch(3) == b != Pipeline().rebatch(4)
    assert Pipeline().rebatch(3, drop_last=True) != b


@each_prefetch
def test_a_repeated_piece_regroups_each_time(prefetch):
    piece = Pipeline().noise().rebatch(3).noise()
    options = {"seed": 1, "n_epochs": 2, "prefetch": prefetch}
    assert facts(rows() >> piece * 2, **options) == facts(rows() >> piece + piece, **options)


def test_a_piece_goes_over_several_datasets():
    piece = Pipeline().rebatch(3)
    assert [ids(rows(n) >> piece, 2) for n in (4, 5, 4)] == [
        [[0, 1, 2], [3]],
        [[0, 1, 2], [3, 4]],
        [[0, 1, 2], [3]],
    ]


def test_copies_and_pickles_give_the_same_batches(dataset):
    pipeline = dataset.p.noise().rebatch(3).noise()
    expected = facts(pipeline, seed=1)
    assert facts(copy.deepcopy(pipeline), seed=1) == expected
    assert facts(pickle.loads(pickle.dumps(pipeline)), seed=1) == expected


# ---- randomness


@each_prefetch
@pytest.mark.parametrize("size", [1, 3, 4, 8])
def test_random_steps_on_both_sides_have_one_answer(dataset, prefetch, size):
    pipeline = dataset.p.noise().rebatch(size).noise().rebatch(3).noise()
    options = {"seed": 5, "n_epochs": 2, "shuffle": True}
    expected = facts(pipeline, executor="serial", **options)
    assert facts(pipeline, prefetch=prefetch, **options) == expected


def test_what_is_drawn_before_it_does_not_depend_on_it(dataset):
    alone = flat(f[4] for f in facts(dataset.p.noise(), seed=1))
    assert flat(f[4] for f in facts(dataset.p.noise().rebatch(3), seed=1)) == alone


def test_what_is_drawn_behind_it_is_not_what_was_drawn_before(dataset):
    before = {x for f in facts(dataset.p.put(0).noise(), seed=1) for x in f[4]}
    behind = {x for f in facts(dataset.p.put(0).rebatch(4).noise(), seed=1) for x in f[4]}
    assert not before & behind


def test_what_is_drawn_behind_it_does_not_depend_on_what_was_drawn_before(dataset):
    quiet = facts(dataset.p.put(0).rebatch(3).noise(), seed=1)
    assert facts(dataset.p.noise().put(0).rebatch(3).noise(), seed=1) == quiet


def test_every_new_batch_draws_its_own(dataset):
    run = facts(dataset.p.put(0).rebatch(1).noise(), seed=1, n_epochs=2)
    assert len({x for f in run for x in f[4]}) == 20


# ---- the ordered section


@each_prefetch
@pytest.mark.parametrize("drop_last", [False, True])
def test_nothing_ordered_before_it_runs_ahead_of_the_batch_in_hand(dataset, prefetch, drop_last):
    pipeline = dataset.p.init_variable("n", 0).noise().count().rebatch(3, drop_last=drop_last)
    pipeline = pipeline.noise()
    for batch in pipeline.gen_batch(4, n_epochs=3, prefetch=prefetch):
        assert pipeline.v("n") == batch.source_numbers[-1] + 1


@each_prefetch
def test_nothing_ordered_behind_it_runs_ahead_of_the_batch_in_hand(dataset, prefetch):
    pipeline = dataset.p.init_variable("n", 0).noise().rebatch(3).noise().count().noise()
    for batch in pipeline.gen_batch(4, n_epochs=3, prefetch=prefetch):
        assert pipeline.v("n") == batch.number + 1


@each_prefetch
def test_inside_the_section_it_has_one_answer_and_runs_nothing_ahead(dataset, prefetch):
    def trace(**options):
        p = dataset.p.init_variable("n", 0).noise().count().rebatch(3).noise().count().noise()
        return [(b.x.tolist(), p.v("n")) for b in p.gen_batch(4, n_epochs=2, seed=1, **options)]

    assert trace(prefetch=prefetch) == trace(executor="serial")
    assert [n for _, n in trace()] == [2, 4, 6, 7, 9, 11, 13, 14]


def test_steps_before_it_are_in_parallel_and_steps_in_the_section_are_not(dataset):
    threads = {}

    class Look(Rows):
        @action
        def look(self, name):
            threads.setdefault(name, set()).add(threading.get_ident())
            return self

    p = rows(cls=Look).p.init_variable("n", 0)
    p = p.look("first").rebatch(3).look("second").count().rebatch(2).look("in").count().look("rest")
    p.run(4, prefetch=4)
    me = threading.get_ident()
    assert me not in threads["first"] | threads["second"]
    assert threads["in"] == threads["rest"] == {me}


# ---- skips, stops, errors


@each_prefetch
@pytest.mark.parametrize("ordered", [False, True])
def test_what_is_left_at_a_stop_before_it_comes_as_a_short_batch(dataset, prefetch, ordered):
    first = dataset.p.init_variable("n", 0)
    first = first.count() if ordered else first
    pipeline = first.signal(StopPipeline, 9).rebatch(6).noise()
    with nothing_left():
        assert ids(pipeline, prefetch=prefetch) == [[*range(6)], [6, 7]]


def test_what_is_left_at_a_stop_is_dropped_with_drop_last(dataset):
    assert ids(dataset.p.signal(StopPipeline, 9).rebatch(6, drop_last=True)) == [[*range(6)]]


@each_prefetch
def test_a_stop_behind_it_leaves_nothing_more(dataset, prefetch):
    assert ids(dataset.p.rebatch(3).signal(StopPipeline, 4), prefetch=prefetch) == [[0, 1, 2]]


@each_prefetch
def test_a_stop_behind_the_first_of_two_flushes_the_second(dataset, prefetch):
    pipeline = dataset.p.rebatch(3).signal(StopPipeline, 6).rebatch(4)
    assert ids(pipeline, prefetch=prefetch) == [[0, 1, 2, 3], [4, 5]]


@each_prefetch
def test_a_stop_in_a_merged_pipeline_flushes_a_rebatch_behind(dataset, prefetch):
    inner = rows(first=100).p.signal(StopPipeline, 109)
    pipeline = dataset.p.merge(inner).rebatch(10)
    assert [len(b) for b in ids(pipeline, prefetch=prefetch)] == [10, 6]


@each_prefetch
def test_a_skip_behind_it_leaves_out_a_new_batch(dataset, prefetch):
    pipeline = dataset.p.rebatch(3).signal(SkipBatch, 4).noise()
    seen = [(b.number, b.indices[0]) for b in pipeline.gen_batch(4, prefetch=prefetch)]
    assert seen == [(0, 0), (2, 6), (3, 9)]


@each_prefetch
@pytest.mark.parametrize("ordered", [False, True])
def test_an_error_before_it_comes_after_the_whole_batches_before_it(dataset, prefetch, ordered):
    first = dataset.p.init_variable("n", 0)
    first = first.count() if ordered else first
    pipeline = first.signal(OSError("no disk"), 5).rebatch(3).noise()
    numbers = []
    with nothing_left(), pytest.raises(OSError, match="no disk") as caught:
        for batch in pipeline.gen_batch(4, prefetch=prefetch, seed=1):
            numbers.append(batch.number)
    assert numbers == [0]
    assert "batch 1, epoch 0, 4 items with the ids [4, 5, 6, 7]" in caught.value.__notes__


@each_prefetch
def test_the_notes_of_an_error_behind_it_tell_number_sources_place_epoch_and_ids(dataset, prefetch):
    pipeline = dataset.p.rebatch(6).noise().signal(ValueError("no"), 7)
    with pytest.raises(ValueError, match="no") as caught:
        pipeline.run(4, prefetch=prefetch, seed=3)
    notes = "\n".join(caught.value.__notes__)
    assert f"in the action 'signal', chained at {__file__}" in notes
    ids_shown = "4 items with the ids [6, 7, 8, 9]"
    assert f"batch 1 (of the source batches 1, 2), epoch 0, {ids_shown}" in notes
    assert "pipeline.replay(1, batch_size=4, seed=3); pipeline.replay(2, batch_size=4" in notes


def test_the_replays_in_the_note_give_the_source_batches(dataset):
    pipeline = dataset.p.noise().rebatch(6).signal(ValueError("no"), 7)
    options = {"shuffle": True, "n_epochs": 2}
    with pytest.raises(ValueError, match="no") as caught:
        pipeline.run(4, prefetch=2, **options)
    note = next(note for note in caught.value.__notes__ if "pipeline.replay" in note)
    calls = note[note.index("pipeline.replay") :].split("; ")
    again = [eval(call, {"pipeline": pipeline}) for call in calls]
    alone = {b.number: b for b in dataset.p.noise().gen_batch(4, seed=pipeline.seed, **options)}
    assert [b.x.tolist() for b in again] == [alone[b.number].x.tolist() for b in again]


def test_replay_gives_the_batch_as_it_comes_to_the_first_rebatch(dataset):
    again = dataset.p.noise().rebatch(3).put(0).replay(2, 4, seed=1)
    assert again.x.tolist() == facts(dataset.p.noise(), seed=1)[2][4]


# ---- ends


def leave_by_ctrl_c(run):
    with pytest.raises(KeyboardInterrupt):
        for _ in run:
            raise KeyboardInterrupt


@each_prefetch
@pytest.mark.parametrize(
    "way",
    [
        leave_at_the_end,
        leave_by_break,
        leave_by_close,
        leave_to_the_garbage_collector,
        leave_by_ctrl_c,
    ],
)
def test_every_way_out_leaves_nothing(dataset, prefetch, way):
    pipeline = dataset.p.init_variable("n", 0).noise().rebatch(3).noise().count().rebatch(2)
    with nothing_left():
        for _ in range(3):
            way(pipeline.gen_batch(4, prefetch=prefetch, n_epochs=2))


def test_an_abandoned_run_is_collected(dataset):
    run = dataset.p.noise().rebatch(3).noise().gen_batch(4, prefetch=2)
    next(run)
    gone = weakref.ref(run)
    del run
    gc.collect()
    assert gone() is None


@each_prefetch
@pytest.mark.parametrize("where", ["before", "behind", "fn"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, MemoryError])
def test_no_exception_is_swallowed(dataset, prefetch, where, error):
    def failing(batches):
        raise error

    pipeline = {
        "before": dataset.p.signal(error, 5).rebatch(3),
        "behind": dataset.p.rebatch(3).signal(error, 5),
        "fn": dataset.p.rebatch(3, failing),
    }[where]
    with nothing_left(), pytest.raises(error):
        pipeline.run(4, prefetch=prefetch)


def test_two_runs_at_once_do_not_disturb_each_other(dataset):
    pipeline = dataset.p.noise().rebatch(3).noise()
    options = {"seed": 1, "shuffle": True, "n_epochs": 2}
    expected = facts(pipeline, **options)
    runs = [pipeline.gen_batch(4, prefetch=n, **options) for n in (2, 5)]
    pairs = [(a.x.tolist(), b.x.tolist()) for a, b in zip(*runs, strict=True)]
    assert pairs == [(f[4], f[4]) for f in expected]


# ---- the length of a run, and its bar


@pytest.mark.parametrize("own", [None, True, False])
@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("limit", [{}, {"n_epochs": 3}, {"n_iters": 5}, {"n_iters": 2}])
def test_the_length_of_a_run_is_the_number_of_its_batches(dataset, own, drop_last, limit):
    def run(size):
        return dataset.p.rebatch(size, drop_last=own).gen_batch(4, drop_last=drop_last, **limit)

    sizes = [1, 3, 4, 7, 10, 11]
    assert [len(run(size)) for size in sizes] == [len(list(run(size))) for size in sizes]


@pytest.mark.parametrize(
    "build",
    [
        lambda p: p.filter(B.y > 3).rebatch(3),
        lambda p: (p.filter(B.y > 3) @ 0.5).rebatch(3),
        lambda p: p.rebatch(3).rebatch(2),
        lambda p: p.rebatch(3).filter(B.y > 3).rebatch(2),
    ],
)
def test_a_length_that_is_not_known_is_not_told(dataset, build):
    with pytest.raises(TypeError, match="not known"):
        len(build(dataset.p).gen_batch(4))


def test_filtering_behind_it_does_not_hide_the_length(dataset):
    assert len(dataset.p.rebatch(3).filter(B.y >= 0).gen_batch(4)) == 4


def test_an_endless_run_has_no_length(dataset):
    with pytest.raises(TypeError, match="endless"):
        len(dataset.p.rebatch(3).gen_batch(4, n_epochs=None))


@each_prefetch
def test_the_progress_bar_goes_with_it(dataset, prefetch, capsys):
    pipeline = dataset.p.init_variable("n", 0).rebatch(3).count()
    pipeline.run(4, prefetch=prefetch, n_epochs=2, bar=V("n"))
    assert "8/8" in capsys.readouterr().err
