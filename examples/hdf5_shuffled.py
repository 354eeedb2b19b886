"""An HDF5 file of half a gigabyte, shuffled, in the memory of a few batches.

Writes images in chunks, and trains on them in random order: each batch reads its own rows and
nothing more. Prints the most memory that the process took beyond what it started with.

    python examples/hdf5_shuffled.py            # 0.5 GB
    python examples/hdf5_shuffled.py 20         # 20 MB
"""

import resource
import sys
import tempfile
from pathlib import Path

import h5py
import numpy as np

from batchflow import ArrayBatch, Dataset, action

SHAPE = 64, 64
CHUNK = 32


def write_images(path, n_images):
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        images = file.create_dataset(
            "images", (n_images, *SHAPE), "float32", chunks=(CHUNK, *SHAPE)
        )
        means = file.create_dataset("means", (n_images,), "float32")
        for start in range(0, n_images, CHUNK):
            rows = rng.normal(size=(min(CHUNK, n_images - start), *SHAPE)).astype("float32")
            images[start : start + CHUNK], means[start : start + CHUNK] = rows, rows.mean((1, 2))


class Images(ArrayBatch):
    components = "images", "means"

    @action
    def flatten(self):
        self.images = self.images.reshape(len(self), -1)
        return self

    @action(singleton=True)
    def train(self, rate):
        weights = self.pipeline.v("weights")
        error = self.images @ weights - self.means
        weights -= rate * self.images.T @ error / len(self)
        self.pipeline.v("losses").append(float(np.mean(error**2)))
        return self


def memory():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # MB on Linux


def main(path, megabytes):
    write_images(path, megabytes * 2**20 // (4 * SHAPE[0] * SHAPE[1]))
    before = memory()
    dataset = Dataset.from_hdf5(path, Images, images="images", means="means")
    training = (
        dataset.p.init_variable("weights", np.zeros(SHAPE[0] * SHAPE[1], "float32"))
        .init_variable("losses", init=list)
        .flatten()
        .train(0.01)
    )
    training.run(64, shuffle=1, prefetch=4)
    losses = training.v("losses")
    print(f"{len(dataset)} images, {path.stat().st_size / 2**20:.0f} MB on disk")
    print(f"mean loss of the first and the last batches: {losses[0]:.2e}, {losses[-1]:.2e}")
    print(f"memory grew by {memory() - before:.0f} MB")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(Path(folder) / "images.h5", int(sys.argv[1]) if len(sys.argv) > 1 else 512)
