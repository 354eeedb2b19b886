"""Files as items: patterns, names, collisions, subsets, memory."""

import copy
import pickle
import tracemalloc
from pathlib import Path

import pytest

from batchflow import Batch, Dataset, DatasetIndex, FilesIndex, action


@pytest.fixture
def folder(tmp_path):
    for name in ("a/2.txt", "a/1.txt", "b/3.npy", "b/deep/4.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path


@pytest.mark.parametrize("kind", [str, Path])
def test_a_pattern_gives_the_names_in_order(folder, kind):
    index = FilesIndex(kind(folder / "a" / "*"))
    assert index.indices.tolist() == ["1.txt", "2.txt"]
    assert index.get_fullpath("2.txt") == str(folder / "a" / "2.txt")


def test_several_patterns_with_different_numbers_of_files(folder):
    index = FilesIndex([folder / "a" / "*", str(folder / "b" / "*")], no_ext=True)
    assert index.indices.tolist() == ["1", "2", "3"]
    assert Path(index.get_fullpath("3")).read_text() == "b/3.npy"


def test_a_file_that_matches_twice_is_one_item(folder):
    assert len(FilesIndex([folder / "a" / "*", folder / "a" / "1*"])) == 2


def test_two_stars_go_through_folders(folder):
    index = FilesIndex(folder / "**" / "*.txt")
    assert sorted(index) == ["1.txt", "2.txt", "4.txt"]


@pytest.mark.parametrize("pattern", ["*", "*/"])
def test_folders_are_items_on_request(folder, pattern):
    index = FilesIndex(f"{folder}/{pattern}", dirs=True)
    assert index.indices.tolist() == ["a", "b"]
    assert index.get_fullpath("b") == str(folder / "b")


def test_no_match_is_an_error_that_names_the_pattern(folder):
    with pytest.raises(ValueError, match=r"no file matches .*\*\.jpg"):
        FilesIndex(folder / "*.jpg")


@pytest.fixture
def class_folders(tmp_path):
    for name in ("cat/0.txt", "dog/0.txt", "dog/1.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


@pytest.mark.parametrize("no_ext", [False, True])
def test_folders_of_classes_are_told_to_be_part_of_the_ids(class_folders, no_ext):
    with pytest.raises(ValueError, match=r"id '0.*let paths be the ids") as caught:
        FilesIndex(class_folders / "*" / "*.txt", no_ext=no_ext)
    assert f"Path({str(class_folders)!r})" in str(caught.value)
    assert "no_ext" not in str(caught.value)


def test_what_is_advised_for_folders_of_classes_works(class_folders):
    class Texts(Batch):
        components = "text"

    with pytest.raises(ValueError, match="let paths be the ids") as caught:
        FilesIndex(class_folders / "*" / "*.txt")
    advice = str(caught.value).partition("in them: ")[2]
    names = {"Path": Path, "Dataset": Dataset, "MyBatch": Texts, "read": _read_text}
    *lines, chain = advice.split("; ")
    exec("\n".join(lines), names)
    assert list(eval(chain, names).next_batch(3).text) == ["cat/0.txt", "dog/0.txt", "dog/1.txt"]


def _read_text(path):
    return Path(path).read_text()


def test_names_that_differ_by_the_extension_are_told_to_keep_it(folder):
    (folder / "a" / "1.npy").write_text("another")
    with pytest.raises(ValueError, match="keep the extensions: no_ext=False"):
        FilesIndex(folder / "a" / "*", no_ext=True)


def test_names_that_collide_are_refused_with_both_paths(folder):
    (folder / "b" / "1.txt").write_text("another")
    with pytest.raises(ValueError, match=r"id '1\.txt': .*a/1\.txt and .*b/1\.txt"):
        FilesIndex(folder / "*" / "*.txt")
    (folder / "a" / "1.npy").write_text("another")
    with pytest.raises(ValueError, match=r"id '1'.*no_ext=False"):
        FilesIndex(folder / "a" / "*", no_ext=True)


@pytest.mark.parametrize("path", [5, None, [5]])
def test_what_is_no_pattern_is_refused(path):
    with pytest.raises(TypeError, match="pattern"):
        FilesIndex(path)


def test_parts_stay_files_and_know_their_paths(folder):
    index = FilesIndex(folder / "a" / "*")
    for part in (index.split(0.5).test, index.take([1]), index.create_subset("2.txt")):
        assert type(part) is FilesIndex
        assert part.get_fullpath("2.txt") == str(folder / "a" / "2.txt")
        with pytest.raises(KeyError, match=r"1\.txt"):
            part.get_fullpath("1.txt")


@pytest.mark.parametrize("again", [copy.copy, lambda i: pickle.loads(pickle.dumps(i))])
def test_copies_know_their_paths(folder, again):
    index = again(FilesIndex(folder / "a" / "*"))
    assert index.get_fullpath("1.txt") == str(folder / "a" / "1.txt")


def test_another_index_can_be_made_of_it(folder):
    assert len(DatasetIndex(FilesIndex(folder / "a" / "*"))) == 2


@pytest.mark.parametrize("prefetch", [0, 2])
def test_batches_load_their_files(folder, prefetch):
    class Texts(Batch):
        components = ("texts",)

        @action
        def load(self):
            self.texts = [Path(self.index.get_fullpath(i)).read_text() for i in self.indices]
            return self

    dataset = Dataset(FilesIndex(folder / "**" / "*.txt"), Texts)
    texts = [t for batch in dataset.p.load().gen_batch(2, prefetch=prefetch) for t in batch.texts]
    assert texts == ["a/1.txt", "a/2.txt", "b/deep/4.txt"]


def test_an_index_of_many_files_is_small(monkeypatch):
    n_files, folder = 20_000, "/data/some/long/path/that/is/the/same/for/all/files"
    paths = [f"{folder}/{i:08d}.npy" for i in range(n_files)]
    monkeypatch.setattr("glob.iglob", lambda pattern, recursive: iter(paths))
    monkeypatch.setattr("os.path.isfile", lambda path: True)
    tracemalloc.start()
    index = FilesIndex("*")
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert index.get_fullpath("00000007.npy") == paths[7]
    assert held / n_files < 120
