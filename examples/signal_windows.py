"""Fifty recordings of different lengths, cut into windows, split by recording.

Makes recordings of two kinds of rhythm, of which each also has a pitch of its own: whoever lets
windows of one recording into both parts learns the pitch. Trains a logistic regression on spectra
of windows, then asks it about whole recordings of the test part, sample by sample.

    python examples/signal_windows.py
"""

import numpy as np

from batchflow import Batch, Dataset, action, assemble_windows

N_RECORDINGS, SIZE, STRIDE = 50, 256, 64
N_FREQUENCIES = SIZE // 2 + 1


def make_recordings():
    rng = np.random.default_rng(0)
    signals, labels = np.empty(N_RECORDINGS, object), np.arange(N_RECORDINGS) % 2
    for place, label in enumerate(labels):
        time = np.arange(rng.integers(2_000, 6_000))
        rhythm = np.sin(2 * np.pi * time / (20 if label else 25) + rng.uniform(0, 6))
        pitch = np.sin(2 * np.pi * time / rng.uniform(4, 8))
        signals[place] = rhythm + pitch + rng.normal(scale=1.5, size=len(time))
    return signals, labels


class Recordings(Batch):
    components = "signal", "label", "spectrum", "score"

    @action
    def spectra(self):
        tapered = self.signal * np.hanning(SIZE)
        self.spectrum = np.log1p(np.abs(np.fft.rfft(tapered)))
        return self

    @action(singleton=True)
    def train(self, rate):
        weights = self.pipeline.v("weights")
        error = 1 / (1 + np.exp(-self.spectrum @ weights)) - self.label
        weights -= rate * self.spectrum.T @ error / len(self)
        return self

    @action
    def predict(self, weights):
        self.score = 1 / (1 + np.exp(-self.spectrum @ weights))
        return self


def whole_recordings(windows, weights):
    """Return the mean score of each sample, by recording."""
    scores, records, starts = [], [], []
    for batch in windows.p.spectra().predict(weights).gen_batch(64, prefetch=2):
        scores.append(np.repeat(batch.score[:, None], SIZE, axis=1))
        records.extend(batch.records.tolist())
        starts.extend(batch.starts.tolist())
    return assemble_windows(np.concatenate(scores), records, starts, weights="hann")


def main():
    signals, labels = make_recordings()
    ids = [f"r{number:02}" for number in range(N_RECORDINGS)]
    recordings = Dataset.from_arrays(Recordings, ids, signal=signals, label=labels)
    windows = recordings.windows("signal", SIZE, STRIDE)
    parts = windows.split(0.7, shuffle=1, stratify=labels)
    training, test = (set(part.index.records.indices) for part in (parts.train, parts.test))
    print(f"{len(windows)} windows; {len(training)} and {len(test)} recordings, ", end="")
    print(f"{len(training & test)} in both parts")

    learning = parts.train.p.init_variable("weights", np.zeros(N_FREQUENCIES)).spectra().train(0.1)
    learning.run(32, shuffle=2, n_epochs=8, prefetch=2)

    scores = whole_recordings(parts.test, learning.v("weights"))
    right = [(score.mean() > 0.5) == int(name[1:]) % 2 for name, score in scores.items()]
    print(f"test accuracy by recording {np.mean(right):.0%}")


if __name__ == "__main__":
    main()
