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
def test_folders_of_classes_are_told_to_give_the_folder_above(class_folders, no_ext):
    with pytest.raises(ValueError, match=r"id '0.*let the ids be paths below") as caught:
        FilesIndex(class_folders / "*" / "*.txt", no_ext=no_ext)
    assert f"root={str(class_folders)!r})" in str(caught.value)
    assert "no_ext" not in str(caught.value)


# ---- paths below a folder


def test_paths_below_the_root_are_the_ids(class_folders):
    index = FilesIndex(class_folders / "*" / "*.txt", root=class_folders)
    assert index.indices.tolist() == ["cat/0.txt", "dog/0.txt", "dog/1.txt"]
    assert index.get_fullpath("dog/0.txt") == str(class_folders / "dog" / "0.txt")


def test_a_root_may_be_spelt_otherwise_than_the_pattern(class_folders, monkeypatch):
    monkeypatch.chdir(class_folders)
    index = FilesIndex("*/*.txt", root=class_folders / "dog" / "..")
    assert index.indices.tolist() == ["cat/0.txt", "dog/0.txt", "dog/1.txt"]
    assert FilesIndex(str(class_folders / "dog" / "*"), root=".").get_fullpath("dog/1.txt")


def test_files_beside_the_root_are_refused(class_folders):
    with pytest.raises(ValueError, match=r"dog do not lie below root=.*cat'") as caught:
        FilesIndex(class_folders / "*" / "*.txt", root=class_folders / "cat")
    assert f"root={str(class_folders)!r}" in str(caught.value)


def test_a_root_whose_name_only_begins_alike_is_refused(tmp_path):
    (tmp_path / "data2").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "data2" / "a").touch()
    with pytest.raises(ValueError, match="do not lie below root="):
        FilesIndex(tmp_path / "data2" / "*", root=tmp_path / "data")


def test_a_root_that_is_not_there_is_refused(class_folders):
    with pytest.raises(ValueError, match=r"root='nowhere' is no folder \(looked for /"):
        FilesIndex(class_folders / "*" / "*", root="nowhere")


def test_a_pattern_below_the_root_is_told_to_have_it(class_folders):
    with pytest.raises(ValueError, match="does not begin at root: write") as caught:
        FilesIndex("cat/*.txt", root=class_folders)
    assert str(class_folders / "cat" / "*.txt") in str(caught.value)


def test_folders_below_a_root_are_items(folder):
    index = FilesIndex(folder / "**" / "*", dirs=True, root=folder)
    assert index.indices.tolist() == ["a", "b", "b/deep"]
    assert index.get_fullpath("b/deep") == str(folder / "b" / "deep")


# ---- extensions

NAMES = ["a.nii.gz", "b.ome.tiff", "c.txt", "d", "e.v1.5.png", ".f"]


@pytest.fixture
def scans(tmp_path):
    for name in NAMES:
        (tmp_path / name).touch()
    return [tmp_path / name for name in NAMES]


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        ({}, NAMES),
        ({"ext": True}, NAMES),
        ({"ext": False}, ["a", "b", "c", "d", "e.v1.5", ".f"]),
        ({"no_ext": True}, ["a.nii", "b.ome", "c", "d", "e.v1.5", ".f"]),
        ({"ext": ".gz"}, ["a.nii", *NAMES[1:]]),
        ({"ext": ".nii.gz"}, ["a", *NAMES[1:]]),
    ],
)
def test_an_extension_is_cut_as_it_is_asked_for(scans, options, ids):
    index = FilesIndex(scans, sort=False, **options)
    assert index.indices.tolist() == ids
    assert [index.get_fullpath(i) for i in ids] == list(map(str, scans))


@pytest.mark.parametrize("options", [{"ext": "gz"}, {"ext": 1}, {"ext": False, "no_ext": True}])
def test_what_is_no_extension_is_refused(scans, options):
    with pytest.raises(TypeError, match="ext"):
        FilesIndex(scans, **options)


def test_names_alike_without_extensions_are_told_to_keep_them(tmp_path):
    for name in ("a.nii", "a.nii.gz"):
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match="keep the extensions: ext=True"):
        FilesIndex(tmp_path / "*", ext=False)


# ---- what is not there


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"no file matches .*there is no folder .*/nowhere$"):
        FilesIndex(tmp_path / "nowhere" / "*" / "*.png")


def test_one_missing_path_of_several_is_an_error(class_folders):
    with pytest.raises(ValueError, match=r"no file matches '.*dog/9\.txt'"):
        FilesIndex([class_folders / "cat" / "0.txt", class_folders / "dog" / "9.txt"])


def test_one_of_several_patterns_may_match_nothing(class_folders):
    assert len(FilesIndex([class_folders / "cat" / "*.txt", class_folders / "cat" / "*.png"])) == 1


def test_an_empty_list_of_patterns_is_refused():
    with pytest.raises(ValueError, match="got an empty list"):
        FilesIndex([])


def test_a_name_with_brackets_is_no_pattern_where_it_is_there(tmp_path):
    (tmp_path / "scan[1].txt").touch()
    assert FilesIndex([tmp_path / "scan[1].txt"]).indices.tolist() == ["scan[1].txt"]


def test_hidden_files_match_as_in_glob(tmp_path):
    for name in (".a", "b"):
        (tmp_path / name).touch()
    assert FilesIndex(tmp_path / "*").indices.tolist() == ["b"]
    assert FilesIndex(tmp_path / ".*").indices.tolist() == [".a"]


def test_the_order_does_not_depend_on_the_file_system(class_folders, monkeypatch):
    from batchflow.index import scan

    listed = scan._listed
    monkeypatch.setattr(scan, "_listed", lambda *args: reversed(list(listed(*args))))
    index = FilesIndex(class_folders / "*" / "*.txt", root=class_folders)
    assert index.indices.tolist() == ["cat/0.txt", "dog/0.txt", "dog/1.txt"]


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
    monkeypatch.setattr("batchflow.index.scan._matches", lambda pattern, dirs: iter(paths))
    tracemalloc.start()
    index = FilesIndex("*")
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert index.get_fullpath("00000007.npy") == paths[7]
    assert held / n_files < 120


def test_an_ending_is_cut_in_capitals_too(tmp_path):
    for name in ("a.nii.gz", "b.NII.GZ", "c.nii"):
        (tmp_path / name).touch()
    index = FilesIndex(tmp_path / "*", ext=".gz")
    assert index.indices.tolist() == ["a.nii", "b.NII", "c.nii"]
    assert index.get_fullpath("b.NII") == str(tmp_path / "b.NII.GZ")


@pytest.mark.parametrize("pattern", ["*.txt", "gone.txt", "**/gone.txt"])
def test_a_link_to_nothing_is_an_error_and_no_item_less(tmp_path, pattern):
    (tmp_path / "here.txt").touch()
    (tmp_path / "gone.txt").symlink_to(tmp_path / "removed.txt")
    (tmp_path / "link.txt").symlink_to(tmp_path / "here.txt")
    with pytest.raises(ValueError, match=r"gone.txt' is a link to '.*removed.txt', which is not"):
        FilesIndex(tmp_path / pattern)
    (tmp_path / "removed.txt").touch()
    assert "gone.txt" in FilesIndex(tmp_path / pattern).indices
