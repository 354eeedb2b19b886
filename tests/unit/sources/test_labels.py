"""Dataset.from_files: files with labels that belong to them, and paths of other files."""

import os
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
from kit import Rows

from batchflow import (
    ArgumentTypeError,
    ArgumentValueError,
    ArrayBatch,
    Batch,
    Dataset,
    UnknownNameError,
)

IDS = ["cat/0.npy", "cat/1.npy", "dog/0.npy", "emu/0.npy"]


class Pictures(Batch):
    components = "images", "labels", "masks", "grade"


@pytest.fixture
def root(tmp_path, monkeypatch):
    for place, item in enumerate(IDS):
        for folder in ("root", "masks"):
            path = tmp_path / folder / item
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, np.full(2, place))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def of_files(labels=None, cls=Pictures, **others):
    return Dataset.from_files("root/*/*.npy", cls, root="root", labels=labels, **others)


def whole(dataset):
    return dataset.create_batch(IDS)


OPTIONS = [{}, {"prefetch": 2}, {"executor": "processes", "n_workers": 1}]


@pytest.mark.parametrize("options", OPTIONS, ids=["direct", "threads", "processes"])
def test_folders_are_labels_in_the_order_of_the_classes(root, options):
    dataset = of_files("folder")
    assert dataset.classes == ("cat", "dog", "emu")
    images = dataset.p.load(fmt="npy", components="images")
    for batch in images.gen_batch(3, shuffle=1, **options):
        assert [dataset.classes[k] for k in batch.labels] == [i[:3] for i in batch.indices]
        assert [image[0] for image in batch.images] == [IDS.index(i) for i in batch.indices]


def test_parts_have_the_classes_of_the_whole(root):
    part = of_files("folder").split(0.5).train
    assert part.classes == ("cat", "dog", "emu")


PAIRS = dict(zip(IDS, ["w", "u", "u", "w"], strict=True))
SHUFFLED = IDS[::-1]
WAYS = {
    "mapping": lambda: PAIRS,
    "series": lambda: pd.Series(PAIRS).loc[SHUFFLED],
    "frame": lambda: pd.DataFrame(
        {"name": SHUFFLED, "labels": [PAIRS[i] for i in SHUFFLED], "n": 0}
    ),
    "frame with labels": lambda: pd.DataFrame({"kind": pd.Series(PAIRS)}).loc[SHUFFLED],
    "polars": lambda: pl.DataFrame({"kind": [PAIRS[i] for i in SHUFFLED], "file": SHUFFLED}),
    "function": lambda: lambda item: PAIRS[item],
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_labels_go_by_id(root, way):
    dataset = of_files(way())
    assert whole(dataset).labels.tolist() == [1, 0, 0, 1]
    assert dataset.classes == ("u", "w")


CSVS = {
    "plain": "file,label\n{1},u\n{0},w\n{3},w\n{2},u\n",
    "semicolons": "label;file\nu;{1}\nw;{0}\nw;{3}\nu;{2}\n",
    "more columns": "n,file,class,note\n1,{1},u,\n2,{0},w,\n3,{3},w,\n4,{2},u,\n",
    "spaces": "file, label\n{1}, u\n {0},w \n  \n{3}, w\n{2} ,u\n , \n",
    "marked": "\ufefffile,label\n{1},u\n{0},w\n{3},w\n{2},u\n",
}


@pytest.mark.parametrize("text", CSVS.values(), ids=CSVS)
def test_labels_of_a_csv_file_go_by_id(root, text):
    (root / "labels.csv").write_text(text.format(*IDS), encoding="utf-8")
    assert whole(of_files("labels.csv")).labels.tolist() == [1, 0, 0, 1]
    assert whole(of_files(root / "labels.csv")).labels.tolist() == [1, 0, 0, 1]


@pytest.mark.parametrize(
    ("written", "labels", "classes"),
    [
        (["1", "2", "3", "-4"], [1, 2, 3, -4], None),
        (["+1", "-1", "+1", "2"], [1, -1, 1, 2], None),
        (["1", "2.5", "3", "nan"], None, None),
        (["1", "2", "3", "NA"], None, None),
        (["1", "", "N/A", "x"], None, None),
        (["1", "2.5", "3", "4"], [1.0, 2.5, 3.0, 4.0], None),
        (["01", "02", "03", "1"], [0, 1, 2, 3], ("01", "02", "03", "1")),
    ],
)
def test_numbers_of_a_csv_file_stay_numbers(root, written, labels, classes):
    lines = [f"{item},{text}" for item, text in zip(IDS, written, strict=True)]
    (root / "labels.csv").write_text("\n".join(["file,label", *lines]))
    if labels is None:
        with pytest.raises(
            ArgumentValueError, match=r"1 of 4 items have no value: '(emu/0|cat/1).npy'"
        ):
            of_files("labels.csv")
        return
    dataset = of_files("labels.csv")
    assert whole(dataset).labels.tolist() == labels
    assert dataset.classes == classes


def test_numbers_stay_what_they_are(root):
    labels = pd.Series([7, 300, 5, 7], index=IDS, dtype=np.int64)
    assert whole(of_files(labels)).labels.tolist() == [7, 300, 5, 7]
    assert whole(of_files({i: [0, 1] for i in IDS})).labels.shape == (4, 2)


def test_another_component_may_have_the_labels(root):
    dataset = of_files({"grade": "folder"})
    assert whole(dataset).grade.tolist() == [0, 0, 1, 2]
    assert whole(dataset).labels is None


def test_other_components_go_by_id_and_texts_stay_texts(root):
    batch = whole(of_files("folder", grade=PAIRS, masks="masks/{id}"))
    assert batch.grade.tolist() == ["w", "u", "u", "w"]
    assert batch.masks.tolist() == [f"masks/{item}" for item in IDS]


def test_paths_may_be_of_files_with_another_extension(root):
    for item in IDS:
        os.rename(f"masks/{item}", f"masks/{item[:-4]}.png")
    assert whole(of_files(masks="masks/{id}.png")).masks[2] == "masks/dog/0.png"


def test_without_a_root_the_folder_that_a_file_lies_in_is_its_label(root):
    dataset = Dataset.from_files("root/*/0.npy", Pictures, root="root", labels="folder")
    other = Dataset.from_files("root/cat/*.npy", Pictures, labels="folder")
    assert dataset.classes == ("cat", "dog", "emu")
    assert other.classes == ("cat",)
    assert other.indices.tolist() == ["0.npy", "1.npy"]


def test_ids_that_belong_to_no_file_are_told(root):
    with pytest.warns(UserWarning, match="labels: 2 ids belong to no item: 'x', 'y'") as caught:
        of_files({**PAIRS, "x": "u", "y": "u"})
    assert caught[0].filename == __file__


def test_nothing_is_told_where_all_ids_have_a_file(root):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        of_files(PAIRS)


REFUSED = {
    "missing": ({"cat/0.npy": 1}, "3 of 4 items have no value: 'cat/1.npy', 'dog/0.npy'"),
    "nan": ({**PAIRS, "dog/0.npy": float("nan")}, "1 of 4 items have no value: 'dog/0.npy'"),
    "no extension": ({i[:-4]: 1 for i in IDS}, "ext=False"),
    "mixed": ({**PAIRS, "dog/0.npy": 3}, "some labels are texts, and that of 'dog/0.npy' is 3"),
    "doubled": (pd.Series([1] * 5, index=[*IDS, "dog/0.npy"]), "more than once: 'dog/0.npy'"),
    "no csv": ("folders", 'is "folder", the path of a CSV file'),
    "a list": ([1, 2, 3, 4], "expected a mapping from ids"),
    "an array": (np.arange(4), "expected a mapping from ids"),
}


@pytest.mark.parametrize(("labels", "words"), REFUSED.values(), ids=REFUSED)
def test_labels_that_are_not_of_all_items_are_refused(root, labels, words):
    with pytest.raises((ArgumentValueError, ArgumentTypeError), match=words):
        of_files(labels)


def test_a_file_in_the_root_has_no_folder_as_its_label(root):
    np.save(root / "root" / "alone.npy", np.zeros(2))
    with pytest.raises(ArgumentValueError, match=r"in no folder below the root: 'alone.npy'"):
        Dataset.from_files("root/**/*.npy", Pictures, root="root", labels="folder")


def test_a_path_that_leads_nowhere_says_where_was_looked(root):
    with pytest.raises(
        ArgumentValueError, match=r"4 of 4 files are not there: 'mask/cat/0.npy'"
    ) as e:
        of_files(masks="mask/{id}")
    assert str(root) in str(e.value)
    with pytest.raises(FileNotFoundError) as missing:
        of_files("labels.csv")
    assert str(root / "labels.csv") in missing.value.__notes__[0]


def test_a_table_with_several_columns_asks_which(root):
    table = pd.DataFrame({"file": IDS, "a": 1, "b": 2})
    with pytest.raises(UnknownNameError, match="which column of the table has the labels"):
        of_files(table)


def test_a_class_without_the_component_is_refused(root):
    for cls in (Rows, ArrayBatch):
        with pytest.raises(ArgumentTypeError, match="labels"):
            of_files("folder", cls=cls)


@pytest.mark.parametrize("missing", [None, pd.NA, pd.NaT, np.float32("nan")], ids=repr)
def test_a_missing_value_is_no_label(root, missing):
    with pytest.raises(ArgumentValueError, match=r"1 of 4 items have no value: 'cat/1.npy'"):
        of_files(pd.Series([1, missing, 2, 3], index=IDS, dtype=object))


@pytest.mark.parametrize("head", ["file,label,label", "file,file,label"])
def test_a_csv_file_with_a_name_for_two_columns_is_refused(root, head):
    (root / "labels.csv").write_text("\n".join([head, *(f"{i},{i},1" for i in IDS)]))
    with pytest.raises(ArgumentValueError, match="has several columns"):
        of_files("labels.csv")


def test_two_columns_with_ids_of_the_items_are_refused(root):
    table = pd.DataFrame({"left": IDS, "right": IDS[::-1], "label": [1, 2, 3, 4]})
    with pytest.raises(ArgumentValueError, match="both 'left' and 'right'"):
        of_files(table)
    by_left = of_files(table.set_index("left"))
    assert whole(by_left).labels.tolist() == [1, 2, 3, 4]


def test_numbers_are_the_ids_that_they_are_written_as(tmp_path):
    for name in ("1", "2", "10"):
        (tmp_path / f"{name}.jpg").touch()
    table = pd.DataFrame({"image": [10, 1, 2], "grade": [1, 1, 2]})
    for labels in (table, table.set_index("image").grade, {10: 1, 1: 1, 2: 2}):
        dataset = Dataset.from_files(tmp_path / "*.jpg", Pictures, labels=labels, ext=False)
        assert dataset.create_batch(["10", "2"]).labels.tolist() == [1, 2]


@pytest.mark.parametrize("name", ["masks", "labels"])
def test_a_path_with_an_id_in_it_may_be_a_path_object(root, name):
    dataset = of_files(**{name: root / "masks" / "{id}"})
    paths = getattr(dataset.create_batch(["dog/0.npy"]), name)
    assert paths.tolist() == [str(root / "masks/dog/0.npy")]


@pytest.mark.parametrize("labels", [{"y": "folder"}, {"y": PAIRS}])
def test_labels_for_a_component_that_the_class_has_not_are_refused(root, labels):
    with pytest.raises(ArgumentTypeError, match="Pictures has no component 'y'"):
        of_files(labels)


def test_a_csv_file_in_another_encoding_says_what_to_write(root):
    (root / "labels.csv").write_bytes("file,label\nä,b\n".encode("latin-1"))
    with pytest.raises(UnicodeDecodeError) as caught:
        of_files("labels.csv")
    assert "labels=pandas.read_csv('labels.csv', encoding=...)" in caught.value.__notes__[0]


@pytest.mark.parametrize("dtype", ["uint8", "float32", "int64", "float64", "bool"])
def test_numbers_of_a_column_keep_their_dtype(root, dtype):
    column = pd.Series([0, 1, 1, 0], index=IDS).astype(dtype)
    for given in (column, pl.DataFrame({"file": IDS, "label": column.to_numpy()})):
        labels = whole(of_files(given)).labels
        assert (labels.dtype, labels.tolist()) == (np.dtype(dtype), column.tolist())


@pytest.mark.parametrize("number", ["9007199254740993", "1_0"])
def test_a_column_in_which_a_number_would_be_another_has_texts(root, number):
    lines = [f"{item},{number if place else 0.5}" for place, item in enumerate(IDS)]
    (root / "labels.csv").write_text("\n".join(["file,label", *lines]))
    assert of_files("labels.csv").classes == tuple(sorted(["0.5", number]))


def test_names_with_several_dots_have_no_path_in_common(tmp_path):
    for name in ("scan.1.npy", "scan.2.npy", "a.nii.gz", "scan.png", "a.png"):
        (tmp_path / name).touch()
    masks = f"{tmp_path}/{{id}}.png"
    with pytest.raises(ArgumentValueError, match="2 of 2 files are not there"):
        Dataset.from_files(f"{tmp_path}/*.npy", Pictures, masks=masks)
    packed = Dataset.from_files(f"{tmp_path}/*.gz", Pictures, masks=masks)
    assert packed.next_batch(1).masks.tolist() == [f"{tmp_path}/a.png"]


def test_a_hint_names_an_id_that_has_a_value(root):
    labels = dict.fromkeys(IDS, 1.0) | {"cat/0.npy": np.nan}
    with pytest.raises(ArgumentValueError, match=r"An id that has a value is 'cat/1\.npy'"):
        of_files(labels)


def test_accents_that_are_written_in_another_way_are_told(root):
    (root / "root" / "cat" / "\u00e9.npy").touch()
    with pytest.raises(ArgumentValueError, match="Unicode NFC"):
        of_files(dict.fromkeys([*IDS, "cat/e\u0301.npy"], 1))


def test_a_csv_file_without_names_of_columns_is_refused(root):
    rows = [*(f"{item},{k}" for k, item in enumerate(IDS)), f"{IDS[0]},7"]
    for lines in (rows[:-1], rows, ["sep=,", "file,label", *rows[:-1]]):
        (root / "labels.csv").write_text("\n".join(lines))
        with pytest.raises(ArgumentValueError, match=r"first line of 'labels.csv' has no names"):
            of_files("labels.csv")


def test_decimal_commas_are_refused(root):
    lines = [f"{item};{k},5" for k, item in enumerate(IDS)]
    (root / "labels.csv").write_text("\n".join(["file;label", *lines]))
    with pytest.raises(ArgumentValueError, match=r"decimal commas: give labels=pandas.read_csv"):
        of_files("labels.csv")


def test_a_row_of_a_csv_file_with_other_values_is_shown(root):
    (root / "labels.csv").write_text('file,label\n\n"a","b\nc"\nd,e,f\n')
    with pytest.raises(ArgumentValueError, match=r"\['d', 'e', 'f'\] of 'labels.csv' has 3 values"):
        of_files("labels.csv")


def test_the_ending_of_a_csv_file_may_be_in_capitals(root):
    (root / "LABELS.CSV").write_text("\n".join(["file,label", *(f"{item},1" for item in IDS)]))
    assert whole(of_files("LABELS.CSV")).labels.tolist() == [1, 1, 1, 1]


def test_keys_of_a_mapping_may_be_numbers_of_numpy(tmp_path):
    for name in ("1", "2"):
        (tmp_path / f"{name}.jpg").touch()
    labels = {np.int64(2): 5, np.int64(1): 6}
    dataset = Dataset.from_files(tmp_path / "*.jpg", Pictures, labels=labels, ext=False)
    assert dataset.create_batch(["1", "2"]).labels.tolist() == [6, 5]


def test_datasets_may_have_the_same_numbers_for_their_labels(root):
    training = of_files("folder")
    files = "root/emu/*.npy"
    testing = Dataset.from_files(
        files, Pictures, root="root", labels="folder", classes=training.classes
    )
    assert testing.classes == ("cat", "dog", "emu")
    assert testing.next_batch(1).labels.tolist() == [2]
    backwards = of_files(PAIRS, classes=["w", "u"])
    assert whole(backwards).labels.tolist() == [0, 1, 1, 0]


@pytest.mark.parametrize(
    ("classes", "labels", "error", "words"),
    [
        (["cat", "dog"], "folder", ArgumentValueError, "'emu', of 'emu/0.npy', is none of the"),
        (["cat", "cat"], "folder", ArgumentValueError, "a text twice"),
        ("cat", "folder", ArgumentTypeError, "the texts of labels"),
        ([0, 1], "folder", ArgumentTypeError, "the texts of labels"),
        (["cat"], dict.fromkeys(IDS, 1), ArgumentTypeError, "labels that are texts"),
        (["cat"], None, ArgumentTypeError, "labels that are texts"),
    ],
)
def test_classes_that_are_not_those_of_the_labels_are_refused(root, classes, labels, error, words):
    with pytest.raises(error, match=words):
        of_files(labels, classes=classes)


@pytest.mark.filterwarnings("ignore:labels. 1 ids belong to no item")
def test_the_row_of_no_item_does_not_make_texts_of_numbers(root):
    lines = [*(f"{item},{k + 5}" for k, item in enumerate(IDS)), "gnu/0.npy,unknown"]
    (root / "labels.csv").write_text("\n".join(["file,label", *lines]))
    assert whole(of_files("labels.csv")).labels.tolist() == [5, 6, 7, 8]
