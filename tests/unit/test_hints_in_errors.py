"""Errors of a first hour have a note, or a word, that says what to write instead."""

import numpy as np
import pytest

from batchflow import ArrayBatch, B, Dataset, FilesIndex, action


class Rows(ArrayBatch):
    components = "x", "y"

    @action
    def add(self, value):
        self.x = self.x + value
        return self


class Model:
    def train(self, *args):
        np.asarray(args[0], dtype=float)

    def predict(self, x):
        return x


@pytest.fixture
def dataset():
    return Dataset.from_arrays(Rows, x=np.arange(8.0))


def notes_of(pipeline, **options):
    with pytest.raises((TypeError, ValueError, AttributeError)) as caught:
        pipeline.run(4, **options)
    return "\n".join(caught.value.__notes__)


def test_the_name_of_a_component_as_a_text_is_told_to_be_one(dataset):
    notes = notes_of(dataset.p.init_model("m", Model).train_model("m", "x"))
    assert "'x' is a text here; the component of the batch is B.x" in notes


def test_a_text_that_is_no_component_is_not_told(dataset):
    assert "is a text" not in notes_of(dataset.p.call(float, "z"))


def test_components_without_data_are_told(dataset):
    assert "without data (None): y" in notes_of(dataset.p.call(np.mean, B.y))


def test_components_are_not_told_where_something_else_is_none(dataset):
    pipeline = dataset.p.load(src={"y": np.arange(8)}).call(np.add, B.x, None)
    assert "without data" not in notes_of(pipeline)


def test_a_map_over_items_is_told_of_src(dataset):
    assert "map(f, src='x')" in notes_of(dataset.p.map(lambda x: x / 16))


def test_a_map_over_a_component_is_not_told_of_src(dataset):
    assert "src=" not in notes_of(dataset.p.map(lambda x: x / "16", src="x"))


def test_a_function_that_is_called_without_a_batch_is_told_how_to_get_it(dataset):
    assert "call(f, B())" in notes_of(dataset.p.call(lambda batch: batch.x))


def test_a_type_error_within_a_function_is_not_told_of_the_batch(dataset):
    assert "call(f, B())" not in notes_of(dataset.p.call(lambda: 1 + "1"))


def test_a_component_asked_of_a_dataset_is_told_to_be_in_its_batches(dataset):
    with pytest.raises(AttributeError, match=r"dataset\.create_batch\(ids\)\.x"):
        dataset.x.mean()


def test_a_component_asked_for_as_an_item_is_told_to_be_an_attribute(dataset):
    with pytest.raises(KeyError, match=r"batch\.x"):
        dataset.next_batch(2)["x"]


def test_a_slice_of_ids_is_told_to_be_of_positions(dataset):
    with pytest.raises(KeyError, match=r"index\.indices\[start:stop\]"):
        dataset.create_batch(slice(3))


def test_data_in_the_place_of_ids_are_told_where_they_go():
    with pytest.raises(TypeError, match=r"Dataset\.from_arrays\(MyBatch, images="):
        Dataset(np.zeros((8, 2, 2)), Rows)


def test_a_prediction_in_processes_is_told_where_it_can_be_made(dataset):
    pipeline = dataset.p.init_model("m", Model).predict_model("m", B.x, save_to=B.z)
    with pytest.raises(ValueError, match="Run in threads, or let an ordered action predict"):
        pipeline.run(4, executor="processes")


@pytest.mark.parametrize(("pattern", "better"), [("", "*"), ("*", "*/*")])
def test_a_folder_in_the_place_of_files_is_told_to_be_one(tmp_path, pattern, better):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.npy").touch()
    with pytest.raises(ValueError, match="is a folder: for the files in it write") as caught:
        FilesIndex(tmp_path / pattern)
    assert repr(str(tmp_path / better)) in str(caught.value)


def test_files_in_the_place_of_folders_are_told_to_be_files(tmp_path):
    (tmp_path / "1.npy").touch()
    with pytest.raises(ValueError, match="is a file, and files are looked for without dirs=True"):
        FilesIndex(tmp_path / "*", dirs=True)
