"""Batches out of batches: merged ones and parts; nothing is lost or shared in silence."""

import numpy as np
import pytest
from kit import Pair

from batchflow import (
    ArgumentTypeError,
    ArgumentValueError,
    ArrayBatch,
    Batch,
    Dataset,
    DatasetIndex,
    FilesIndex,
    UnknownNameError,
    action,
)
from batchflow.batch.regroup import part


class Lists(Batch):
    components = "items"


class WithHelper(ArrayBatch):
    def __init__(self, index, *args, **kwargs):
        super().__init__(index, *args, **kwargs)
        self.size = len(self)
        self.names = ["a", {"b": np.zeros(2)}]


def arrays(ids, rows, cls=ArrayBatch):
    batch = cls(ids)
    batch.data = rows
    return batch


def lists(ids, rows):
    batch = Lists(ids)
    batch.items = rows
    return batch


# ---- merge: data


def test_rows_of_all_batches_come_in_order():
    merged = ArrayBatch.merge([arrays(["a", "b"], [1, 2]), arrays(["c"], [3])])
    assert merged.data.tolist() == [1, 2, 3]


def test_every_component_is_merged():
    dataset = Dataset.from_arrays(Pair, images=np.arange(8).reshape(4, 2), labels=np.arange(4))
    merged = Pair.merge(dataset.gen_batch(2))
    assert (merged.images.tolist(), merged.labels.tolist()) == (
        [[0, 1], [2, 3], [4, 5], [6, 7]],
        [0, 1, 2, 3],
    )


def test_any_iterable_of_batches_is_merged():
    assert len(ArrayBatch.merge(arrays([i], [i]) for i in range(3))) == 3


def test_the_result_has_the_class_that_was_asked():
    other = arrays(["a"], [1], cls=Batch)
    assert type(ArrayBatch.merge([other])) is ArrayBatch


def test_lists_become_rows_of_an_array_batch():
    assert ArrayBatch.merge([arrays(["a"], [1], cls=Batch)]).data.tolist() == [1]


@pytest.mark.parametrize("kind", [list, tuple])
def test_lists_and_tuples_become_a_list(kind):
    merged = Lists.merge([lists([1], kind([[1, 2]])), lists([2], ["x"])])
    assert merged.items == [[1, 2], "x"]


def test_an_array_and_a_list_become_a_list():
    merged = Lists.merge([lists([1], np.array([5])), lists([2], ["x"])])
    assert merged.items == [5, "x"]


def test_numpy_decides_on_the_type_of_numbers():
    first, second = arrays([1], np.array([1], np.int8)), arrays([2], np.array([0.5], np.float32))
    assert ArrayBatch.merge([first, second]).data.dtype == np.float32


def test_numbers_are_not_turned_into_strings():
    merged = ArrayBatch.merge([arrays([1], [1]), arrays([2], np.array(["x"]))])
    assert merged.data.tolist() == [1, "x"]


def test_numbers_are_not_turned_into_dates():
    dates = arrays([2], np.array(["2020-01-01"], "M8[D]"))
    merged = ArrayBatch.merge([arrays([1], [1.5]), dates])
    assert merged.data.tolist() == [1.5, np.datetime64("2020-01-01")]


def test_records_of_other_fields_are_refused_by_name():
    records = arrays([2], np.array([(1, 2)], "i4,i4"))
    with pytest.raises(ArgumentValueError, match=r"ArrayBatch\.data"):
        ArrayBatch.merge([arrays([1], [1.5]), records])


def test_arrays_of_objects_are_merged():
    first, second = np.empty(1, object), np.empty(2, object)
    first[0], second[1] = [1, 2], {"a": 1}
    merged = ArrayBatch.merge([arrays([1], first), arrays([2, 3], second)])
    assert merged.data.tolist() == [[1, 2], None, {"a": 1}]


def test_masks_are_merged():
    masked = np.ma.masked_array([1, 2], mask=[True, False])
    merged = ArrayBatch.merge([arrays([1, 2], masked), arrays([3], [3])])
    assert merged.data.mask.tolist() == [True, False, False]


def test_items_of_different_shapes_are_refused_with_name_and_shapes():
    with pytest.raises(ArgumentValueError, match=r"ArrayBatch\.data.*\(1, 2\), \(1, 3\)"):
        ArrayBatch.merge([arrays([1], [[1, 2]]), arrays([2], [[1, 2, 3]])])


def test_a_component_that_is_none_in_all_stays_none():
    assert Pair.merge([Pair([1]), Pair([2])]).data == (None, None)


def test_a_component_that_is_none_in_some_is_refused_by_name():
    full = Pair([1])
    full.images = full.labels = [1]
    with pytest.raises(ArgumentValueError, match=r"Pair\.images: batch 1 of the 2 .* None"):
        Pair.merge([full, Pair([2])])


def test_a_component_of_another_length_is_refused_by_name():
    with pytest.raises(ArgumentValueError, match=r"Lists\.items: the batch has 2 items.*3 rows"):
        Lists.merge([lists([1, 2], [1, 2, 3])])


def test_a_batch_with_other_components_is_refused():
    with pytest.raises(
        ArgumentTypeError, match=r"components images, labels, got a Lists with .*it"
    ):
        Pair.merge([Pair([1]), Lists([2])])


@pytest.mark.parametrize("what", [5, [5], None], ids=repr)
def test_what_is_no_batch_is_refused(what):
    with pytest.raises(ArgumentTypeError, match=r"merge"):
        Batch.merge(what)


def test_one_batch_instead_of_a_list_is_refused():
    with pytest.raises(ArgumentTypeError, match="takes a list of batches"):
        Batch.merge(Batch(2))


def test_no_batch_at_all_is_refused():
    with pytest.raises(ArgumentValueError, match="at least one batch"):
        Batch.merge([])


def test_a_merged_array_is_nobody_elses():
    single = arrays([1], [1])
    ArrayBatch.merge([single]).data[0] = 9
    assert single.data.tolist() == [1]


def test_a_merged_list_is_nobody_elses():
    single = lists([1], ["a"])
    Lists.merge([single]).items[0] = "z"
    assert single.items == ["a"]


# ---- merge: ids


def test_ids_are_kept():
    merged = ArrayBatch.merge([arrays([4], [40]), arrays([2], [20])])
    assert merged.indices.tolist() == [4, 2]


def test_common_ids_make_the_index_positional():
    merged = ArrayBatch.merge([arrays([4, 2], [1, 2]), arrays([2], [3])])
    assert merged.indices.tolist() == [0, 1, 2]


def test_common_ids_are_found_in_source_ids():
    merged = ArrayBatch.merge([arrays([4, 2], [1, 2]), arrays([2], [3])])
    assert merged.source_ids.tolist() == [4, 2, 2]


def test_source_ids_are_the_ids_where_nothing_was_renamed():
    assert Batch(["x", "y"]).source_ids.tolist() == ["x", "y"]


def test_source_ids_cannot_be_written():
    with pytest.raises(ValueError, match="read-only"):
        ArrayBatch.merge([arrays([2], [1]), arrays([2], [3])]).source_ids[0] = 7


def test_source_ids_are_kept_when_merged_again():
    twice = ArrayBatch.merge([arrays([7], [1]), arrays([7], [2])])
    assert ArrayBatch.merge([twice, arrays([9], [3])]).source_ids.tolist() == [7, 7, 9]


def test_ids_that_do_not_collide_are_kept_beside_source_ids():
    twice = ArrayBatch.merge([arrays([7], [1]), arrays([7], [2])])
    assert ArrayBatch.merge([twice, arrays([9], [3])]).indices.tolist() == [0, 1, 9]


@pytest.mark.parametrize("ids", [(1, "1"), (1, 0.5), (("a", 1), "a")], ids=repr)
def test_ids_of_different_types_stay_what_they_are(ids):
    merged = ArrayBatch.merge([arrays([item], [1]) for item in ids])
    assert [(item, type(item)) for item in merged.indices.tolist()] == [(i, type(i)) for i in ids]


def test_an_item_of_a_merged_batch_is_found_by_its_id():
    merged = ArrayBatch.merge([arrays(["a"], [1]), arrays(["bcd"], [2])])
    assert (merged["a"], merged["bcd"]) == (1, 2)


def test_a_merged_batch_of_files_knows_their_paths(tmp_path):
    for name in "abc":
        (tmp_path / name).touch()
    merged = Batch.merge(Dataset(FilesIndex(tmp_path / "*")).gen_batch(2))
    assert merged.index.get_fullpath("c") == str(tmp_path / "c")


@pytest.mark.parametrize(
    "other", [["x"], lambda folder: FilesIndex(folder / "b")], ids=["ids", "files"]
)
def test_files_of_two_indices_become_plain_ids(tmp_path, other):
    for name in "ab":
        (tmp_path / name).touch()
    second = other(tmp_path) if callable(other) else other
    merged = Batch.merge([Batch(FilesIndex(tmp_path / "a")), Batch(second)])
    assert type(merged.index) is DatasetIndex


# ---- merge: facts


def test_dataset_and_pipeline_are_those_of_the_first():
    pipeline = Dataset(4).p
    first, second = pipeline.gen_batch(2)
    merged = Batch.merge([first, second])
    assert merged.dataset is first.dataset
    assert merged.pipeline is first.pipeline


def test_a_merged_batch_has_no_number():
    merged = Batch.merge(Dataset(4).gen_batch(2))
    assert (merged.number, merged.epoch) == (None, None)


def test_a_merged_batch_has_a_generator_of_its_own():
    first, second = Dataset(4).gen_batch(2, seed=1)
    state = first.rng.bit_generator.state
    Batch.merge([first, second]).rng.random()
    assert first.rng.bit_generator.state == state


def test_the_source_number_of_a_batch_is_its_number():
    assert [batch.source_numbers for batch in Dataset(4).gen_batch(2)] == [(0,), (1,)]


def test_there_are_no_source_numbers_outside_a_run():
    assert Batch(2).source_numbers == ()


def test_the_source_numbers_that_the_engine_has_set_win():
    batch = Batch(2)
    batch.number, batch._sources = 5, (8, 9)
    assert batch.source_numbers == (8, 9)


# ---- sub-batches


@pytest.mark.parametrize(
    "ids",
    [["c", "a"], ("c", "a"), np.array(["c", "a"]), DatasetIndex(["c", "a"]), {"c": 0, "a": 1}],
    ids=["list", "tuple", "array", "index", "collection"],
)
def test_a_subset_has_the_items_in_the_order_asked(ids):
    subset = arrays(["a", "b", "c"], [1, 2, 3]).create_subset(ids)
    assert (subset.indices.tolist(), subset.data.tolist()) == (["c", "a"], [3, 1])


def test_a_subset_of_one_id_is_a_batch_of_one():
    assert arrays([5, 6], [50, 60]).create_subset(6).data.tolist() == [60]


@pytest.mark.parametrize(
    "ids", [[5, 7], np.array([5, 7]), DatasetIndex([5, 7])], ids=["list", "array", "index"]
)
def test_brackets_with_several_ids_give_the_subset(ids):
    assert arrays([7, 6, 5], [70, 60, 50])[ids].data.tolist() == [50, 70]


@pytest.mark.parametrize("one", [5, np.int64(5), np.array(5)], ids=["int", "numpy", "0-d"])
def test_brackets_with_one_id_give_the_item(one):
    assert arrays([7, 5], [70, 50])[one] == 50


def test_brackets_with_a_tuple_that_is_an_id_give_the_item():
    assert arrays([("a", 1), ("b", 2)], [1, 2])["b", 2] == 2


def test_a_subset_has_the_class_of_its_batch():
    assert type(Pair(2)[[1]]) is Pair


def test_a_list_stays_a_list():
    assert lists([1, 2, 3], ["a", [1], 5])[[3, 2]].items == [5, [1]]


def test_an_unknown_id_is_named():
    with pytest.raises(UnknownNameError, match=r"no item with the id 9; its ids are \[1, 2\]"):
        Batch([1, 2])[[1, 9]]


def test_an_id_twice_is_refused():
    with pytest.raises(ArgumentValueError, match="unique"):
        Batch([1, 2]).create_subset([1, 1])


def test_no_ids_are_refused():
    with pytest.raises(ArgumentValueError, match="no items"):
        Batch([1, 2]).create_subset([])


@pytest.mark.parametrize("value", [{"a": 1, "b": 2}, 5, "ab", {1, 2}, np.array(1)], ids=repr)
def test_a_component_that_is_not_made_of_items_is_refused_by_name(value):
    with pytest.raises(ArgumentValueError, match=r"Lists\.items: expected an array or a list"):
        lists([1, 2], value)[[1]]


def test_a_component_of_another_length_cannot_be_divided():
    with pytest.raises(ArgumentValueError, match=r"Lists\.items.*2 items.*3 rows"):
        lists([1, 2], [1, 2, 3])[[1]]


def test_a_component_without_data_is_none_in_the_subset():
    assert Pair(3)[[1, 2]].images is None


def test_a_subset_keeps_its_place_in_the_run():
    batch = list(Dataset(4).p.gen_batch(2))[1]
    subset = batch[[3]]
    kept = (subset.number, subset.epoch, subset.dataset, subset.pipeline)
    assert kept == (1, 0, batch.dataset, batch.pipeline)


def test_a_subset_draws_from_the_generator_of_its_batch():
    batch = next(iter(Dataset(4).gen_batch(4, seed=3)))
    assert batch[[0, 1]].rng is batch.rng


def test_a_subset_keeps_source_ids():
    merged = ArrayBatch.merge([arrays([7, 8], [1, 2]), arrays([8], [3])])
    assert merged[[2, 0]].source_ids.tolist() == [8, 7]


def test_an_action_may_return_a_subset():
    class Halves(ArrayBatch):
        @action
        def half(self):
            return self[self.indices[: len(self) // 2]]

    run = Dataset.from_arrays(Halves, data=np.arange(8)).p.half().gen_batch(4)
    assert [batch.data.tolist() for batch in run] == [[0, 1], [4, 5]]


# ---- parts by position


@pytest.mark.parametrize("positions", [slice(1, 3), np.array([1, 2])], ids=["slice", "array"])
def test_a_part_has_the_items_at_the_positions(positions):
    chosen = part(arrays(["a", "b", "c"], [1, 2, 3]), positions)
    assert (chosen.indices.tolist(), chosen.data.tolist()) == (["b", "c"], [2, 3])


@pytest.mark.parametrize("positions", [slice(0, 2), np.array([0, 1])], ids=["slice", "array"])
def test_work_in_place_on_a_part_does_not_reach_the_batch(positions):
    batch = arrays(3, [1, 2, 3])
    part(batch, positions).data[:] = 0
    assert batch.data.tolist() == [1, 2, 3]


@pytest.mark.parametrize("positions", [slice(0, 2), np.array([0, 1])], ids=["slice", "array"])
@pytest.mark.parametrize("kind", [list, tuple])
def test_a_part_of_a_sequence_is_of_its_kind(positions, kind):
    assert part(lists(3, kind("abc")), positions).items == kind("ab")


def test_a_part_does_not_end_the_epoch():
    batch = Batch(2)
    batch._closes = True
    assert part(batch, slice(0, 1))._closes is False


def test_the_parts_of_a_batch_merge_to_the_batch():
    batch = arrays(["a", "b", "c"], [1, 2, 3])
    merged = ArrayBatch.merge([part(batch, slice(0, 1)), part(batch, slice(1, 3))])
    assert (merged.indices.tolist(), merged.data.tolist()) == (["a", "b", "c"], [1, 2, 3])


# ---- attributes that would be lost

REGROUPED = {
    "merged": lambda batch: type(batch).merge([batch]),
    "a part": lambda batch: part(batch, slice(0, 1)),
    "a subset": lambda batch: batch[[0]],
}
each_way = pytest.mark.parametrize("way", REGROUPED)


@each_way
def test_an_attribute_that_is_no_component_is_refused_by_name(way):
    batch = arrays(2, [1, 2])
    batch.scale = 3
    with pytest.raises(ArgumentValueError, match=r"'scale'.*would lose it.*del batch\.scale"):
        REGROUPED[way](batch)


@each_way
def test_what_a_constructor_sets_is_no_loss(way):
    assert REGROUPED[way](arrays(2, [1, 2], cls=WithHelper)).data[0] == 1


def test_a_part_gets_what_its_own_constructor_sets():
    assert part(arrays(2, [1, 2], cls=WithHelper), slice(0, 1)).size == 1


@each_way
def test_a_changed_value_of_the_constructor_is_refused(way):
    batch = arrays(2, [1, 2], cls=WithHelper)
    batch.names[1]["b"][0] = 1
    with pytest.raises(ArgumentValueError, match="'names'"):
        REGROUPED[way](batch)


@each_way
def test_the_facts_of_a_run_are_no_loss(way):
    batch = next(iter(Dataset.from_arrays(ArrayBatch, data=[1, 2]).p.gen_batch(2)))
    batch.rng.random()
    assert REGROUPED[way](batch).data[0] == 1


def test_a_deleted_attribute_is_no_loss():
    batch = arrays(2, [1, 2])
    batch.scale = 3
    del batch.scale
    assert len(ArrayBatch.merge([batch])) == 2


# ---- names


@pytest.mark.parametrize("name", ["merge", "load", "source_ids", "create_subset"])
def test_a_component_cannot_take_the_name_of_a_method(name):
    with pytest.raises(ArgumentValueError, match=f"cannot be called '{name}'"):
        type("Wrong", (Batch,), {"components": name})


def test_a_class_may_merge_in_a_way_of_its_own():
    class Mine(Batch):
        @classmethod
        def merge(cls, batches):
            return "mine"

    assert Mine.merge([]) == "mine"
