"""Forty volumes with masks on disk, 300 MB: patches of them to learn from, whole ones to predict.

Writes volumes of different depths, maps their files and cuts patches at random places, images and
masks at the same ones; only the patches are read. Patches of several volumes are mixed. Learns how
likely each brightness belongs to a mask, then predicts a volume of the test part in overlapping
pieces, which are put together again.

    python examples/volume_patches.py [NUMBER OF VOLUMES [HEIGHT]]
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

from batchflow import Batch, Dataset, action, assemble_windows

PATCH = (16, 32, 32)


def make_volumes(folder, n_volumes, height):
    rng = np.random.default_rng(0)
    for number in range(n_volumes):
        shape = (int(rng.integers(height // 2, height)), height * 5 // 3, height * 5 // 3)
        axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij", sparse=True)
        center = rng.uniform(-0.3, 0.3, 3)
        mask = sum((axis - c) ** 2 for axis, c in zip(axes, center, strict=True)) < 0.3
        volume = rng.normal(90 + 100 * mask, 25).clip(0, 255).astype("int16")
        np.save(folder / f"{number:02}-volume.npy", volume)
        np.save(folder / f"{number:02}-mask.npy", mask)


class Scans(Batch):
    components = "volumes", "masks", "places"

    @action
    def open(self, folder):
        """Map the files: nothing is read yet."""
        for name, kind in (("volumes", "volume"), ("masks", "mask")):
            mapped = np.empty(len(self), object)
            for place, item in enumerate(self.indices):
                mapped[place] = np.load(folder / f"{item:02}-{kind}.npy", mmap_mode="r")
            setattr(self, name, mapped)
        return self

    @action(singleton=True)
    def count(self):
        counts = self.pipeline.v("counts")
        counts[1] += np.bincount(self.volumes[self.masks], minlength=256)
        counts[0] += np.bincount(self.volumes[~self.masks], minlength=256)
        return self


def main(n_volumes=40, height=108):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_volumes(folder, n_volumes, height)
        n_bytes = sum(path.stat().st_size for path in folder.iterdir())
        parts = Dataset(n_volumes).split(0.8, shuffle=1)
        scans = Dataset(parts.train.indices, Scans).p.init_variable("counts", np.ones((2, 256)))
        learning = scans.open(folder).crop(PATCH, n=8).mix_rows(4).rebatch(16).count()
        learning.run(4, shuffle=2, n_epochs=3, prefetch=2)
        counts = learning.v("counts")
        n_patches = int(counts.sum() - counts.size) // int(np.prod(PATCH))
        print(f"{n_volumes} volumes, {n_bytes / 2**20:.0f} MB; learned from {n_patches} patches")

        grid = Dataset(parts.test.indices, Scans).p.open(folder)
        grid = grid.crop(PATCH, at="grid", stride=(8, 16, 16), starts="places")
        batch = grid.next_batch(1)
        likely = counts[1] / counts.sum(axis=0)
        (whole,) = assemble_windows(
            likely[batch.volumes], batch.source_ids, batch.places, weights="hann"
        ).values()
        truth = np.load(folder / f"{batch.source_ids[0]:02}-mask.npy")
        found = whole > 0.5
        dice = 2 * (found & truth).sum() / (found.sum() + truth.sum())
        print(f"{len(batch)} overlapping pieces of a test volume; Dice {dice:.2f}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
