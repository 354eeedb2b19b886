"""What do millions of ids cost, beside pandas, and a folder of many files?

- `build`: `DatasetIndex(ids)` of texts, of long texts and of whole numbers, against
  `pandas.Index(ids)` and its `is_unique`, in turn. Required: a ratio of at most 2.
- `find`: the positions of all ids in another order, `get_pos`, against `get_indexer`, whose table
  is there. Required: at most 2.
- `bytes_beyond_text`: what an index with its table takes for each id, beyond the characters, in a
  process of its own in which nobody else holds the texts. Required: 60.
- `folder`: files in 100 folders are found, made ids by their paths below the root, labelled by
  their folders and split by labels, against a sorted `glob`, `is_unique` and `get_indexer` of
  pandas over the same paths. Required: at most 2.
- `split_seconds`: of as many items, by labels, by groups of 10, by groups of 5 with labels, which
  all differ, and by hashes.

    python benchmarks/many_ids.py [number of ids, 10**6] [number of files, 10**5]

Give 10**7 as 10000000: it takes 8 GB and some minutes.
"""

import glob
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from measure import interleaved, ratios, report

from batchflow import Batch, Dataset, DatasetIndex, FilesIndex

BYTES = """
import gc, sys
from batchflow import DatasetIndex

def held():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

n, form = int(sys.argv[1]), sys.argv[2]
warm = DatasetIndex([form.format(i) for i in range(10**4)])
warm.get_pos(warm.indices[:9])
before = held()
ids = [form.format(i) for i in range(n)]
characters = sum(map(len, ids)) / n
index = DatasetIndex(ids)
index.get_pos(ids[:9])
del ids
gc.collect()
print((held() - before) / n - characters)
"""
FORMS = {"texts": "item_{:010d}", "long": "patient_{:08d}/series_1/image.nii.gz"}


def of_ids(ids, rounds=3):
    rng = np.random.default_rng(1)
    order = rng.permutation(len(ids))
    wanted = ids[order] if isinstance(ids, np.ndarray) else [ids[i] for i in order.tolist()]
    ours, theirs = DatasetIndex(ids), pd.Index(ids)
    if not (ours.get_pos(wanted) == theirs.get_indexer(wanted)).all():
        raise SystemExit("the positions differ")
    build, _ = interleaved(
        rounds, ours=lambda: DatasetIndex(ids), pandas=lambda: pd.Index(ids).is_unique
    )
    find, _ = interleaved(
        rounds, ours=lambda: ours.get_pos(wanted), pandas=lambda: theirs.get_indexer(wanted)
    )
    return {"build": ratios(build, "pandas")["ours"], "find": ratios(find, "pandas")["ours"]}


def held_bytes(n, form):
    command = [sys.executable, "-c", BYTES, str(n), form]
    out = subprocess.run(command, check=True, capture_output=True, text=True)
    return round(float(out.stdout), 1)


class Images(Batch):
    components = "images", "labels"


def of_folder(n_files):
    with tempfile.TemporaryDirectory() as root:
        for k in range(100):
            (Path(root) / f"class{k}").mkdir()
            for i in range(n_files // 100):
                (Path(root) / f"class{k}" / f"{i:06d}.jpg").touch()
        pattern = f"{root}/*/*.jpg"
        names = [str(path.relative_to(root)) for path in Path(root).glob("*/*.jpg")]
        labels = pd.Series([name.partition("/")[0] for name in names], index=names)

        def ours():
            index = FilesIndex(pattern, root=root)
            dataset = Dataset.from_arrays(Images, index=index, labels=labels)
            return dataset.split(0.8, stratify="labels")

        def theirs():
            paths = sorted(glob.glob(pattern))
            index = pd.Index([path[len(root) + 1 :] for path in paths])
            if not index.is_unique:
                raise SystemExit("two files have one path")
            positions = labels.index.get_indexer(index)
            return np.unique(labels.to_numpy()[positions], return_inverse=True)

        return ratios(interleaved(3, ours=ours, theirs=theirs)[0], "theirs")["ours"]


def split_seconds(n):
    index, labels, groups = DatasetIndex(n), np.arange(n) % 50, np.arange(n) // 10
    drawn = np.random.default_rng(2).integers(50, size=n)
    rules = {
        "labels": {"stratify": labels},
        "groups": {"groups": groups},
        "groups_with_labels": {"groups": np.arange(n) // 5, "stratify": drawn},
        "hash": {"by": "hash"},
    }
    seconds = {}
    for name, rule in rules.items():
        start = time.perf_counter()
        index.split(0.8, 0.1, shuffle=1, **rule)
        seconds[name] = round(time.perf_counter() - start, 3)
    return seconds


def main():
    given = [*map(int, sys.argv[1:]), 10**6, 10**5]
    n, n_files = given[0], given[1] if len(sys.argv) > 2 else 10**5
    order = np.random.default_rng(0).permutation(n)
    texts = {name: [form.format(i) for i in order.tolist()] for name, form in FORMS.items()}
    report(
        "many_ids",
        texts=of_ids(texts["texts"]),
        long_texts=of_ids(texts.pop("long")),
        texts_in_an_array=of_ids(np.array(texts.pop("texts"))),
        whole_numbers=of_ids(order * 1000),
        bytes_beyond_text={name: held_bytes(n, form) for name, form in FORMS.items()},
        folder=of_folder(n_files),
        split_seconds=split_seconds(n),
    )


if __name__ == "__main__":
    main()
