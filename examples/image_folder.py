"""Images in folders, one folder for each class, with some files damaged.

Writes scikit-learn's 1,797 handwritten digits as PNG files into folders `0` to `9`, cuts some of
the files off, and trains on what can be read: a damaged file costs its item and nothing else.

    python examples/image_folder.py
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

from batchflow import B, Batch, Dataset, Pipeline, V, model

N_DAMAGED = 20


def write_pictures(folder):
    digits = load_digits()
    for number, (image, digit) in enumerate(zip(digits.images, digits.target, strict=True)):
        path = folder / str(digit) / f"{number:04d}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray((image * 15).astype("uint8")).save(path)
        if number < N_DAMAGED:
            path.write_bytes(path.read_bytes()[:60])


def read(path):
    """Return the pixels of a picture; None if the file is damaged."""
    try:
        with Image.open(path) as image:
            return np.asarray(image, dtype="float32").ravel() / 255
    except OSError as error:
        print(f"left out: {path} ({error})", file=sys.stderr)
        return None


class Pictures(Batch):
    components = "images", "labels"

    @model()
    def network():
        return MLPClassifier(64, learning_rate_init=0.01, random_state=0)


def main(folder):
    write_pictures(folder)
    dataset = Dataset.from_files(folder / "*/*.png", Pictures, root=folder, labels="folder")
    parts = dataset.split(0.8, shuffle=1, stratify="labels")
    readable = Pipeline().load(fmt=read, components="images")
    readable = readable.filter(lambda item: item.images is not None)

    training = (parts.train >> readable).train_model(
        "network", B.images, B.labels, classes=range(len(dataset.classes))
    )
    training.run(64, shuffle=2, n_epochs=12, prefetch=4)
    testing = (parts.test >> readable).init_variable("hits", init=list)
    testing = testing.predict_model("network", B.images, save_to=B.found)
    testing = testing.update(V("hits", "e"), B.found == B.labels)
    testing.run(64, prefetch=4)
    n_read = sum(len(batch) for batch in (dataset >> readable).gen_batch(256, prefetch=4))
    print(f"{n_read} of {len(dataset)} pictures in {len(dataset.classes)} classes could be read")
    print(f"test accuracy {np.mean(testing.v('hits')):.1%}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        main(Path(name))
