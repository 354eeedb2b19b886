"""The action `load`: rows by item, files by id, nothing shared, nothing dangerous."""

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from kit import Pair

from batchflow import (
    ArgumentTypeError,
    ArgumentValueError,
    ArrayBatch,
    Batch,
    Dataset,
    FilesIndex,
    UnknownNameError,
    action,
)


class Lists(Batch):
    components = "items", "labels"


class Column:
    """A column of a table, as pandas has them."""

    def __init__(self, values):
        self._values = np.array(values)

    def __len__(self):
        return len(self._values)

    def __array__(self, dtype=None, copy=None):
        return self._values


class Table(dict):
    """A table, as pandas has them: it iterates over its columns."""

    columns = property(dict.keys)


ROWS = [10, 20, 30, 40]
ABCD = Dataset(["a", "b", "c", "d"], ArrayBatch)
PAIRS = Dataset(4, Pair)


# ---- from memory: rows


@pytest.mark.parametrize(
    "src",
    [ROWS, tuple(ROWS), np.array(ROWS), range(10, 50, 10), Column(ROWS)],
    ids=["list", "tuple", "array", "range", "column"],
)
def test_rows_are_found_by_the_position_in_the_dataset(src):
    assert ABCD.create_batch(["d", "b"]).load(src).data.tolist() == [40, 20]


def test_load_gives_the_batch():
    batch = ABCD.create_batch("a")
    assert batch.load(ROWS) is batch


@pytest.mark.parametrize("prefetch", [0, 2])
def test_load_is_a_step_of_pipelines(prefetch):
    run = ABCD.p.load(ROWS).gen_batch(3, prefetch=prefetch)
    assert [batch.data.tolist() for batch in run] == [[10, 20, 30], [40]]


def test_rows_of_a_merged_batch_are_found_by_its_source_ids():
    twice = [ABCD.create_batch(["d"]), ABCD.create_batch(["d", "a"])]
    assert ArrayBatch.merge(twice).load(ROWS).data.tolist() == [40, 40, 10]


def of_two_datasets():
    other_dataset = Dataset(["b"], ArrayBatch)
    return ArrayBatch.merge([ABCD.create_batch("a"), other_dataset.create_batch("b")])


def test_rows_of_items_of_several_datasets_are_refused():
    with pytest.raises(ArgumentValueError, match="come from several datasets"):
        of_two_datasets().load(ROWS)


def test_rows_of_a_part_of_such_a_batch_are_refused():
    with pytest.raises(ArgumentValueError, match="come from several datasets"):
        of_two_datasets()[["b"]].load(ROWS)


def test_a_batch_without_a_dataset_is_filled_row_by_row():
    assert ArrayBatch(["x", "y"]).load([1, 2]).data.tolist() == [1, 2]


@pytest.mark.parametrize("src", [ROWS[:2], np.arange(5)], ids=["too few", "too many"])
def test_another_number_of_rows_is_refused_with_both_numbers(src):
    with pytest.raises(ArgumentValueError, match=f"of the 4 items of the dataset.*got {len(src)}"):
        ABCD.create_batch(["a", "b"]).load(src)


def test_another_number_of_rows_without_a_dataset_is_refused():
    with pytest.raises(ArgumentValueError, match="2 items"):
        ArrayBatch(["x", "y"]).load([1, 2, 3])


@pytest.mark.parametrize("src", [5, {1, 2}, (i for i in ROWS)], ids=["int", "set", "generator"])
def test_what_has_no_rows_is_refused(src):
    with pytest.raises(ArgumentTypeError, match=r"ArrayBatch\.data: expected an array or a list"):
        ABCD.create_batch("a").load(src)


@pytest.mark.parametrize("src", [None, "/a/folder", Path("/a/folder"), print], ids=repr)
def test_files_without_a_format_are_refused_with_advice(src):
    with pytest.raises(ArgumentTypeError, match=r'load\(src=folder, fmt="npy"\)'):
        ABCD.create_batch("a").load(src)


def test_a_list_stays_a_list_in_a_batch_that_is_no_array_batch():
    assert Dataset(3).create_batch([2, 0]).load(["x", [1], {}]).data == [{}, "x"]


@pytest.mark.parametrize("ids", [[0, 1, 2], [2, 0]], ids=["all", "some"])
@pytest.mark.parametrize("with_dataset", [True, False])
def test_work_in_place_does_not_reach_an_array(ids, with_dataset):
    src = np.arange(3)
    batch = Dataset(3, ArrayBatch).create_batch(ids) if with_dataset else ArrayBatch(3)
    batch.load(src).data[:] = 9
    assert src.tolist() == [0, 1, 2]


def test_work_in_place_does_not_reach_the_items_of_a_list():
    src = [np.zeros(1), np.zeros(2)]
    batch = Batch(2).load(src)
    batch.data[0][:] = 9
    assert src[0].tolist() == [0]


def test_work_in_place_does_not_reach_the_items_of_an_array_of_objects():
    src = np.empty(2, object)
    src[:] = [[1], [2]]
    Batch(2).load(src).data[0].append(9)
    assert src[0] == [1]


# ---- from memory: components


@pytest.mark.parametrize(
    "src",
    [
        (ROWS, ROWS[::-1]),
        {"labels": ROWS[::-1], "images": ROWS},
        Table(images=Column(ROWS), labels=Column(ROWS[::-1])),
    ],
    ids=["tuple", "mapping", "table"],
)
def test_all_components_are_filled(src):
    batch = PAIRS.create_batch([3, 0]).load(src)
    assert (batch.images.tolist(), batch.labels.tolist()) == ([40, 10], [10, 40])


def test_a_mapping_fills_the_components_that_it_names():
    batch = PAIRS.create_batch([3, 0]).load({"labels": ROWS})
    assert (batch.images, batch.labels.tolist()) == (None, [40, 10])


@pytest.mark.parametrize("components", ["labels", ["labels"], ("labels",)])
def test_only_the_chosen_component_is_filled(components):
    batch = PAIRS.create_batch([3, 0]).load(ROWS, components=components)
    assert (batch.images, batch.labels.tolist()) == (None, [40, 10])


@pytest.mark.parametrize("kind", [dict, Table])
def test_the_chosen_component_is_taken_from_a_mapping_with_more(kind):
    src = kind(images=ROWS, labels=ROWS, other=ROWS)
    batch = PAIRS.create_batch([3, 0]).load(src, components="labels")
    assert (batch.images, batch.labels.tolist()) == (None, [40, 10])


def test_a_misspelt_component_is_refused_with_a_suggestion():
    with pytest.raises(UnknownNameError, match=r"no component 'label'. Did you mean 'labels'"):
        PAIRS.create_batch(0).load(ROWS, components="label")


def test_a_misspelt_component_in_a_mapping_is_refused_with_a_suggestion():
    with pytest.raises(UnknownNameError, match="Did you mean 'labels'"):
        PAIRS.create_batch(0).load({"label": ROWS})


def test_one_array_for_two_components_is_refused():
    with pytest.raises(ArgumentTypeError, match="images, labels give a tuple with one source"):
        PAIRS.create_batch(0).load(np.array(ROWS))


# ---- from memory: mappings of ids


def test_a_mapping_of_ids_gives_the_items():
    src = {"d": 4, "b": 2, "z": 0}
    assert ABCD.create_batch(["b", "d"]).load(src).data.tolist() == [2, 4]


def test_a_mapping_of_ids_gives_tuples_for_several_components():
    batch = PAIRS.create_batch([3, 0]).load({0: (1, 2), 3: (3, 4)})
    assert (batch.images.tolist(), batch.labels.tolist()) == ([3, 1], [4, 2])


def test_a_mapping_of_ids_fills_one_component():
    batch = PAIRS.create_batch([3, 0]).load({0: 1, 3: 3}, components="labels")
    assert (batch.images, batch.labels.tolist()) == (None, [3, 1])


def test_a_mapping_without_an_id_is_refused_with_the_id():
    with pytest.raises(UnknownNameError, match="no item with the id 'b'"):
        ABCD.create_batch(["a", "b"]).load({"a": 1})


def test_an_item_that_is_no_tuple_is_refused_for_several_components():
    with pytest.raises(ArgumentTypeError, match="images, labels is a tuple of 2, got int 1"):
        PAIRS.create_batch(0).load({0: 1})


def test_items_from_a_mapping_are_the_batchs_own():
    src = {0: [1]}
    Batch(1).load(src).data[0].append(2)
    assert src == {0: [1]}


def test_a_mapping_for_a_merged_batch_is_by_source_ids():
    single = Dataset([7], ArrayBatch).create_batch(7)
    assert Batch.merge([single, single]).load({7: "x"}).data == ["x", "x"]


# ---- from batches


def other(ids, rows):
    batch = ArrayBatch(ids)
    batch.data = rows
    return batch


def test_rows_of_a_batch_are_found_by_id():
    assert ABCD.create_batch(["d", "a"]).load(other(["a", "d"], [1, 4])).data.tolist() == [4, 1]


def test_the_data_of_a_batch_becomes_the_chosen_component():
    batch = PAIRS.create_batch([3, 0]).load(other([0, 3], [1, 4]), components="labels")
    assert (batch.images, batch.labels.tolist()) == (None, [4, 1])


def test_the_only_component_of_a_batch_becomes_the_chosen_component():
    class Masks(ArrayBatch):
        components = "masks"

    masks = Masks([0, 3])
    masks.masks = [1, 4]
    assert PAIRS.create_batch([3]).load(masks, components="labels").labels.tolist() == [4]


def test_components_of_the_same_name_are_taken():
    src = Pair([0, 3])
    src.images, src.labels = [1, 4], [5, 6]
    batch = PAIRS.create_batch([3]).load(src, components="labels")
    assert (batch.images, batch.labels.tolist()) == (None, [6])


def test_without_a_choice_all_common_components_are_taken():
    class More(ArrayBatch):
        components = "labels", "other"

    src = More([0, 3])
    src.labels, src.other = [5, 6], [7, 8]
    batch = PAIRS.create_batch([3]).load(src)
    assert (batch.images, batch.labels.tolist()) == (None, [6])


def test_a_tuple_of_batches_fills_one_component_each():
    batch = PAIRS.create_batch([3, 0]).load((other([0, 3], [1, 4]), other([3, 0], [5, 6])))
    assert (batch.images.tolist(), batch.labels.tolist()) == ([4, 1], [5, 6])


def test_too_few_batches_are_refused():
    with pytest.raises(ArgumentTypeError, match="images, labels give a tuple with one source"):
        PAIRS.create_batch([0]).load((other([0], [1]),))


def test_a_batch_without_an_id_is_refused_with_the_id():
    with pytest.raises(UnknownNameError, match="no item with the id 3"):
        PAIRS.create_batch([3]).load(other([0], [1]), components="labels")


def test_a_batch_without_the_component_is_refused():
    with pytest.raises(UnknownNameError, match="has no component 'images'"):
        PAIRS.create_batch([0]).load(other([0], [1]))


def test_a_batch_without_data_is_refused():
    with pytest.raises(ArgumentValueError, match="no data for 'labels' yet"):
        PAIRS.create_batch([0]).load(ArrayBatch([0]), components="labels")


def test_work_in_place_does_not_reach_the_other_batch():
    src = other([0], [1])
    ArrayBatch([0]).load(src).data[:] = 9
    assert src.data.tolist() == [1]


# ---- files


@pytest.fixture
def folder(tmp_path):
    for i in range(3):
        np.save(tmp_path / f"{i}.npy", np.full(2, i))
        np.savez(tmp_path / f"{i}.npz", images=np.full(2, i), labels=i * 10)
        (tmp_path / str(i)).write_text(str(i * 100))
    return tmp_path


def read_number(path):
    return int(Path(path).read_text())


@pytest.mark.parametrize("kind", [str, Path])
def test_npy_files_are_found_in_a_folder_by_id(folder, kind):
    batch = Dataset(3, ArrayBatch).create_batch([2, 0]).load(kind(folder), "npy")
    assert batch.data.tolist() == [[2, 2], [0, 0]]


@pytest.mark.parametrize("kind", [str, Path])
def test_files_are_found_by_a_function_of_the_id(folder, kind):
    batch = ArrayBatch([2, 0]).load(lambda i: kind(folder / f"{i}.npy"), fmt="npy")
    assert batch.data.tolist() == [[2, 2], [0, 0]]


def test_files_of_a_files_index_are_found_without_a_folder(folder):
    index = FilesIndex(folder / "*.npy", no_ext=True)
    assert ArrayBatch(index).load(fmt="npy").data.tolist() == [[0, 0], [1, 1], [2, 2]]


def test_files_of_a_merged_batch_are_found_without_a_folder(folder):
    dataset = Dataset(FilesIndex(folder / "*.npy", no_ext=True), ArrayBatch)
    merged = ArrayBatch.merge([dataset.create_batch("2"), dataset.create_batch("2")])
    assert merged.load(fmt="npy").data.tolist() == [[2, 2], [2, 2]]


def test_a_missing_folder_is_refused_where_the_items_are_no_files():
    with pytest.raises(ArgumentTypeError, match=r"FilesIndex.*has a DatasetIndex"):
        ArrayBatch(2).load(fmt="npy")


def test_a_source_that_is_no_folder_is_refused():
    with pytest.raises(ArgumentTypeError, match=r"src is a folder or a function.*got int 5"):
        ArrayBatch(2).load(5, fmt="npy")


def test_a_function_reads_the_file_that_is_named_as_the_id(folder):
    assert ArrayBatch([2, 1]).load(folder, fmt=read_number).data.tolist() == [200, 100]


def test_a_function_reads_the_files_of_a_files_index(folder):
    index = FilesIndex(folder / "[0-9]")
    assert Batch(index).load(fmt=read_number).data == [0, 100, 200]


def test_a_function_gives_tuples_for_several_components(folder):
    batch = Pair([2]).load(folder, fmt=lambda path: (read_number(path), 7))
    assert (batch.images.tolist(), batch.labels.tolist()) == ([200], [7])


def test_a_function_that_gives_no_tuple_is_refused_for_several_components(folder):
    with pytest.raises(ArgumentTypeError, match="images, labels is a tuple of 2, got int 200"):
        Pair([2]).load(folder, fmt=read_number)


def test_npz_arrays_are_named_as_the_components(folder):
    batch = Pair([2, 1]).load(folder, "npz")
    assert (batch.images.tolist(), batch.labels.tolist()) == ([[2, 2], [1, 1]], [20, 10])


def test_npz_fills_the_chosen_component(folder):
    batch = Pair([2, 1]).load(folder, "npz", components="labels")
    assert (batch.images, batch.labels.tolist()) == (None, [20, 10])


def test_the_only_array_of_an_npz_file_may_have_any_name(tmp_path):
    np.savez(tmp_path / "a.npz", np.arange(2))
    assert ArrayBatch(["a"]).load(tmp_path, "npz").data.tolist() == [[0, 1]]


def test_an_array_that_is_not_in_the_npz_file_is_refused_with_what_there_is(folder):
    with pytest.raises(UnknownNameError, match=r"no array 'items' in the file. Known: 'images'"):
        Lists([2]).load(folder, "npz")


def test_npy_for_two_components_is_refused(folder):
    with pytest.raises(ArgumentValueError, match=r"one array.*components='images'"):
        Pair([2]).load(folder, "npy")


def test_npy_fills_the_chosen_component(folder):
    assert Pair([2]).load(folder, "npy", "images").images.tolist() == [[2, 2]]


def test_items_are_a_list_in_a_batch_that_is_no_array_batch(folder):
    data = Batch([2, 0]).load(folder, "npy").data
    assert [type(data), *(item.tolist() for item in data)] == [list, [2, 2], [0, 0]]


def test_items_of_several_shapes_are_a_list(tmp_path):
    for i in range(2):
        np.save(tmp_path / f"{i}.npy", np.zeros(i))
    assert [len(item) for item in Batch(2).load(tmp_path, "npy").data] == [0, 1]


def test_items_from_npy_files_can_be_written(folder):
    data = Batch([2]).load(folder, "npy").data
    data[0][:] = 7
    assert np.load(folder / "2.npy").tolist() == [2, 2]


@pytest.mark.parametrize(
    "array", [np.array(5.0), np.empty((0, 3)), np.asfortranarray(np.eye(2)), np.array(["a", "bc"])]
)
@pytest.mark.parametrize("fmt", ["npy", "npz"])
def test_any_plain_array_comes_back_as_it_was(tmp_path, array, fmt):
    {"npy": np.save, "npz": np.savez_compressed}[fmt](tmp_path / f"a.{fmt}", array)
    back = Batch(["a"]).load(tmp_path, fmt).data[0]
    assert (back.dtype, back.shape, back.tolist()) == (array.dtype, array.shape, array.tolist())


# ---- broken and hostile files


def notes(error):
    return "\n".join(error.value.__notes__)


@pytest.mark.parametrize("fmt", ["npy", "npz", read_number])
def test_a_missing_file_is_told_with_id_and_path(tmp_path, fmt):
    with pytest.raises(FileNotFoundError) as error:
        Batch(["gone"]).load(tmp_path, fmt)
    assert f"the item 'gone' from '{tmp_path / 'gone'}" in notes(error)


def test_what_a_function_raises_arrives_with_id_and_path(folder):
    (folder / "1").write_text("no number")
    with pytest.raises(ValueError, match="no number") as error:
        Batch(3).load(folder, read_number)
    assert f"the item 1 from '{folder / '1'}'" in notes(error)


@pytest.mark.parametrize("fmt", ["npy", "npz"])
def test_a_file_with_pickled_objects_is_refused(tmp_path, fmt):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "run"),)

    array = np.array([Bomb()], dtype=object)
    {"npy": np.save, "npz": np.savez}[fmt](tmp_path / f"a.{fmt}", array)
    with pytest.raises(ValueError, match=r"(?i)object"):
        Batch(["a"]).load(tmp_path, fmt)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("fmt", ["npy", "npz"])
@pytest.mark.parametrize("content", [b"", b"no array at all"])
def test_a_file_of_another_kind_is_refused(tmp_path, fmt, content):
    (tmp_path / f"a.{fmt}").write_bytes(content)
    with pytest.raises((ValueError, zipfile.BadZipFile)) as error:
        Batch(["a"]).load(tmp_path, fmt)
    assert "the item 'a'" in notes(error)


def test_an_npy_file_that_promises_more_than_it_has_is_refused_at_once(tmp_path):
    file = io.BytesIO()
    np.save(file, np.zeros((2, 3)))
    lie = file.getvalue().replace(b"(2, 3)", b"(9999999999, 3)")
    (tmp_path / "a.npy").write_bytes(lie)
    with pytest.raises(ValueError, match="greater than file size"):
        Batch(["a"]).load(tmp_path, "npy")


def test_an_npz_file_that_inflates_beyond_the_limit_is_refused_unread(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "a.npz", np.zeros(10_000))
    monkeypatch.setattr("batchflow.batch.load._MOST_INFLATED", 10_000)
    monkeypatch.setattr(zipfile.ZipFile, "open", None)  # to read anything would fail otherwise
    with pytest.raises(ArgumentValueError, match=r"declares 80,128 bytes.*inflates up to 10,000"):
        Batch(["a"]).load(tmp_path, "npz")


def test_only_the_arrays_that_are_read_count_for_the_limit(tmp_path, monkeypatch):
    monkeypatch.setattr("batchflow.batch.load._MOST_INFLATED", 10_000)
    np.savez_compressed(tmp_path / "a.npz", images=np.zeros(10_000), labels=1)
    assert Pair(["a"]).load(tmp_path, "npz", "labels").labels.tolist() == [1]


# ---- formats


def test_a_misspelt_format_is_refused_with_a_suggestion():
    with pytest.raises(ArgumentValueError, match=r"not 'npyy'. Did you mean 'npy'"):
        Batch(1).load("folder", "npyy")


def test_a_format_that_is_nothing_is_refused():
    with pytest.raises(ArgumentTypeError, match='"npy", "npz" or a function of a path, got 5'):
        Batch(1).load("folder", 5)


# ---- a load of one's own


@pytest.mark.parametrize("mark", [action, lambda function: function], ids=["marked", "unmarked"])
def test_a_load_of_ones_own_wins(mark):
    class Mine(Batch):
        @mark
        def load(self, src, fmt=None):
            self.data = src, fmt
            return self

    assert Dataset(2, Mine).p.load("/some/path").next_batch(2).data == ("/some/path", None)


def test_a_class_without_a_load_of_its_own_offers_it():
    with pytest.raises(AttributeError, match="Did you mean 'load'"):
        Dataset(2).p.lod(ROWS).next_batch(2)
