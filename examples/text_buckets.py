"""Texts of different lengths: in batches of like length, padded, and several of them in one row.

Reads the docstrings of Python's own packages, of one word to hundreds; learns, from the words
alone, of which package a text is; and counts the places of a batch that hold no word: in a plain
shuffle, in buckets of like length, in packed rows.

    python examples/text_buckets.py
"""

import ast
import sysconfig
import zlib
from pathlib import Path

import numpy as np

from batchflow import ArrayBatch, Bucketed, Dataset, action

PACKAGES = "asyncio", "email", "http", "importlib", "logging", "multiprocessing", "unittest", "xml"
N_WORDS, WIDTH, ROW = 8192, 32, 256
CAN_HAVE_TEXT = ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef


def read_texts():
    """Return the words of each docstring as numbers from 1 on, and the numbers of the packages."""
    texts, packages = [], []
    for number, package in enumerate(PACKAGES):
        for path in sorted(Path(sysconfig.get_paths()["stdlib"], package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_bytes())):
                text = ast.get_docstring(node) if isinstance(node, CAN_HAVE_TEXT) else None
                if words := (text or "").lower().split():
                    texts.append([1 + zlib.crc32(w.encode()) % (N_WORDS - 1) for w in words])
                    packages.append(number)
    return texts, np.array(packages)


class Texts(ArrayBatch):
    components = "words", "package", "mask", "segments"

    @action(singleton=True)
    def train(self, rate):
        embedding, weights = self.pipeline.v("embedding"), self.pipeline.v("weights")
        mean, error = self._mean(embedding), self._shares(embedding, weights)
        error[np.arange(len(self)), self.package] -= 1
        of_words = (error @ weights.T / self.mask.sum(1)[:, None])[:, None] * self.mask[..., None]
        weights -= rate * mean.T @ error / len(self)
        np.subtract.at(embedding, self.words, rate * of_words / len(self))
        return self

    @action
    def guess(self, embedding, weights):
        self.package = self._shares(embedding, weights).argmax(1) == self.package
        return self

    def _mean(self, embedding):
        of_words = embedding[self.words] * self.mask[..., None]  # what is filled counts for nothing
        return of_words.sum(1) / self.mask.sum(1)[:, None]

    def _shares(self, embedding, weights):
        scores = self._mean(embedding) @ weights
        powers = np.exp(scores - scores.max(1, keepdims=True))
        return powers / powers.sum(1, keepdims=True)


def main():
    texts, packages = read_texts()
    lengths = np.array([len(text) for text in texts])
    words = np.empty(len(texts), dtype=object)  # an array of lists
    words[:] = texts
    dataset = Dataset.from_arrays(Texts, words=words, package=packages)
    parts = dataset.split(0.8, shuffle=1, stratify="package")
    print(f"{len(texts)} texts of {lengths.min()} to {lengths.max()} words")

    order = Bucketed(lengths[parts.train.indices], window=1600)
    rng = np.random.default_rng(1)
    training = (
        parts.train.p.init_variable("embedding", rng.normal(0, 0.1, (N_WORDS, WIDTH)))
        .init_variable("weights", rng.normal(0, 0.1, (WIDTH, len(PACKAGES))))
        .pad("words", multiple_of=8, mask="mask")
        .train(rate=8)
    )
    training.run(32, shuffle=order, seed=2, n_epochs=8, prefetch=2)
    testing = parts.test.p.pad("words", mask="mask")
    testing = testing.guess(training.v("embedding"), training.v("weights"))
    right = np.concatenate([batch.package for batch in testing.gen_batch(32)])
    print(f"test accuracy {right.mean():.1%} ({len(PACKAGES)} packages)")

    padded = parts.train.p.pad("words", mask="mask")
    for name, shuffle in (("shuffled", True), ("in buckets", order)):
        masks = [batch.mask for batch in padded.gen_batch(32, shuffle=shuffle, seed=3)]
        empty = 1 - sum(mask.sum() for mask in masks) / sum(mask.size for mask in masks)
        print(f"{name}: {empty:.1%} of the places are empty")
    packed = parts.train.p.pack(ROW, "words", batch_size=32, segment="segments", long="split")
    segments = np.concatenate([b.segments for b in packed.gen_batch(32, shuffle=True, seed=3)])
    print(f"packed: {(segments == 0).mean():.1%} of the places are empty")


if __name__ == "__main__":
    main()
