"""How near do pictures, decoded in threads through whole pipelines, come to threads by hand?

JPEG files of 500x375 pixels, in memory, are decoded, resized to 224x224 and flipped at random, in
batches of 64, by two threads. In turn, with Pillow:

- `by_hand`: two plain threads, each with a preallocated array for its batches. The limit.
- `whole_batch`: one action makes all pictures of a batch; `prefetch=4, n_workers=2`.
- `apply`, `inbatch`: the same per item, by `apply_parallel` and `inbatch_parallel`, with
  `prefetch=2, n_workers=2`; `apply_in_turn`, `inbatch_in_turn`: batch by batch, `prefetch=0`, the
  threads of per-item work alone.
- `tf_data`: `tf.data` with the same function, where TensorFlow is installed.

And with simplejpeg and a linear resize of OpenCV: `whole_batch` and `apply` beside
`tf_data_native`, where `tf.io.decode_jpeg` and `tf.image.resize` do it. Of what is not installed,
`skipped` says so.

    python benchmarks/images.py [rounds]

Read `throughput`, of each way divided by that of the limit, round by round; above 1 is faster.
`with_kept_memory` is a process that begins with `batchflow.keep_memory()`, `without` one that does
not. Required with it: `pillow` whole_batch 0.94 (aimed at: 1.0), apply and inbatch 0.88 (0.95);
`simplejpeg` whole_batch 1.15 (1.3). `beside_the_time`: minor page faults and CPU seconds per batch;
how much memory the process had more than before the first run, at most; how many batches were alive
at once, the consumer's with them. Where other programs run, compare CPU seconds.
"""

import ctypes
import importlib.util
import io
import json
import resource
import statistics
import subprocess
import sys
import time
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from measure import ratios, report

import batchflow
from batchflow import ArrayBatch, Dataset, action
from batchflow.batch import apply_parallel, inbatch_parallel

ROUNDS, N_BATCHES, N_ITEMS, SIDE = 9, 4, 64, 224
N_FILES = N_BATCHES * N_ITEMS
NEEDED = {"pillow": ("PIL",), "simplejpeg": ("PIL", "simplejpeg", "cv2", "tensorflow")}
LIMITS = {"pillow": "by_hand", "simplejpeg": "tf_data_native"}


def keep_memory():
    """Do it as users do; in a batchflow that has no word for it, by glibc itself."""
    if hasattr(batchflow, "keep_memory"):
        batchflow.keep_memory()
        return
    malloc = ctypes.CDLL(None)
    malloc.mallopt(-3, 32 << 20)
    malloc.mallopt(-1, 256 << 20)


def make_files():
    """Pictures with soft shapes and some noise, as JPEG: about 60 KB each."""
    from PIL import Image

    rng, files = np.random.default_rng(0), []
    for _ in range(32):
        shapes = Image.fromarray(rng.integers(0, 256, (12, 16, 3), "u1")).resize((500, 375))
        noisy = np.asarray(shapes) + rng.normal(0, 8, (375, 500, 3))
        file = io.BytesIO()
        Image.fromarray(noisy.clip(0, 255).astype("u1")).save(file, "JPEG", quality=90)
        files.append(file.getvalue())
    return files * (N_FILES // len(files))


def by_pillow(file):
    from PIL import Image

    with Image.open(io.BytesIO(file)) as picture:
        return np.asarray(picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def by_simplejpeg(file):
    import cv2
    import simplejpeg

    return cv2.resize(simplejpeg.decode_jpeg(file), (SIDE, SIDE))


def flipped(picture, is_asked):
    return picture[:, ::-1] if is_asked else picture


# ---- the ways


def pipelines(picture, files):
    class Pictures(ArrayBatch):
        components = "files", "images"

        @action
        def whole_batch(self):
            images = np.empty((len(self), SIDE, SIDE, 3), "u1")
            flips = self.rng.random(len(self)) < 0.5
            for place, file in enumerate(self.files):
                images[place] = flipped(picture(file), flips[place])
            self.images = images
            return self

        @apply_parallel(init="files", dst="images")
        def apply(self, file):
            return flipped(picture(file), self.rng.random() < 0.5)

        @action
        @inbatch_parallel("files", post="keep")
        def inbatch(self, file):
            return flipped(picture(file), self.rng.random() < 0.5)

        def keep(self, results):
            self.images = results
            return self

    chain = Dataset.from_arrays(Pictures, files=files, images=np.zeros(N_FILES)).p
    ahead = {"n_workers": 2, "prefetch": 2}
    return {
        "whole_batch": (chain.whole_batch(), {"n_workers": 2, "prefetch": 4}),
        "apply": (chain.apply(), ahead),
        "inbatch": (chain.inbatch(), ahead),
        "apply_in_turn": (chain.apply(), {}),
        "inbatch_in_turn": (chain.inbatch(), {}),
    }


class Watch:
    """A loop over a pipeline that reads one element of each batch and counts those that live."""

    def __init__(self, pipeline, options):
        self.pipeline, self.options = pipeline, options
        self.alive = self.most = 0

    def __call__(self):
        for batch in self.pipeline.gen_batch(N_ITEMS, shuffle=1, **self.options):
            self.alive += 1
            self.most = max(self.most, self.alive)
            weakref.finalize(batch, self._gone)
            batch.images[0, 0, 0, 0]

    def _gone(self):
        self.alive -= 1


def by_hand(picture, files):
    pool = ThreadPoolExecutor(2)
    places = np.empty((2, N_ITEMS, SIDE, SIDE, 3), "u1")
    flips = np.random.default_rng(1).random(N_FILES) < 0.5

    def work(thread):
        for first in range(thread * N_ITEMS, N_FILES, 2 * N_ITEMS):
            for place in range(N_ITEMS):
                number = first + place
                places[thread, place] = flipped(picture(files[number]), flips[number])

    return lambda: list(pool.map(work, range(2)))


def by_tensorflow(files, decode):
    import tensorflow as tf

    options = tf.data.Options()
    options.threading.private_threadpool_size = 2
    flip = tf.image.random_flip_left_right
    data = tf.data.Dataset.from_tensor_slices(files).shuffle(N_FILES)
    data = data.map(lambda file: flip(decode(tf, file)), num_parallel_calls=2)
    data = data.batch(N_ITEMS).prefetch(2).with_options(options)

    def run():
        for images in data:
            images[0, 0, 0, 0]

    return run


def native(tf, file):
    picture = tf.io.decode_jpeg(file, channels=3)
    return tf.cast(tf.image.resize(picture, (SIDE, SIDE)), tf.uint8)


def with_pillow(tf, file):
    picture = tf.numpy_function(by_pillow, [file], tf.uint8)
    return tf.ensure_shape(picture, (SIDE, SIDE, 3))


def ways(kind):
    files = make_files()
    if kind == "pillow":
        found = {"by_hand": by_hand(by_pillow, files)}
        found |= {name: Watch(*of) for name, of in pipelines(by_pillow, files).items()}
        if importlib.util.find_spec("tensorflow"):
            found["tf_data"] = by_tensorflow(files, with_pillow)
        return found
    import cv2

    cv2.setNumThreads(1)
    mine = pipelines(by_simplejpeg, files)
    return {
        "tf_data_native": by_tensorflow(files, native),
        **{name: Watch(*mine[name]) for name in ("whole_batch", "apply", "apply_in_turn")},
    }


# ---- measuring


def status(word):
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith(word)) / 1024


def measured(kind, rounds):
    functions = ways(kind)
    before = status("VmRSS")
    beside = {name: [] for name in functions}
    seconds = {name: [] for name in functions}
    for function in functions.values():
        function()
    for _ in range(rounds):
        for name, function in functions.items():
            with open("/proc/self/clear_refs", "w") as peak:
                peak.write("5")
            used, start = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
            function()
            seconds[name].append(time.perf_counter() - start)
            now = resource.getrusage(resource.RUSAGE_SELF)
            cpu = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
            faults = now.ru_minflt - used.ru_minflt
            beside[name].append((faults / N_BATCHES, cpu / N_BATCHES, status("VmHWM") - before))
    limit = LIMITS[kind]
    return {
        "seconds_per_batch_of_the_limit": round(statistics.median(seconds[limit]) / N_BATCHES, 4),
        "throughput": ratios({n: [1 / s for s in times] for n, times in seconds.items()}, limit),
        "beside_the_time": {name: summary(found) for name, found in beside.items()},
        "batches_alive": {n: f.most for n, f in functions.items() if isinstance(f, Watch)},
    }


def summary(found):
    """Give the median of each figure that was taken in each round."""
    words = "minor_faults_per_batch", "cpu_seconds_per_batch", "peak_megabytes"
    columns = zip(*found, strict=True)
    return {w: round(statistics.median(v), 3) for w, v in zip(words, columns, strict=True)}


def main():
    if len(sys.argv) > 2:
        kind, keeps, rounds = sys.argv[1:]
        if keeps == "with_kept_memory":
            keep_memory()
        print(json.dumps(measured(kind, int(rounds))))
        return
    rounds = sys.argv[1] if len(sys.argv) == 2 else str(ROUNDS)
    figures = {}
    for kind, needed in NEEDED.items():
        missing = [name for name in needed if importlib.util.find_spec(name) is None]
        if missing:
            figures[kind] = {"skipped": f"not installed: {', '.join(missing)}"}
            continue
        figures[kind] = {}
        for keeps in ("with_kept_memory", "without"):
            command = [sys.executable, __file__, kind, keeps, rounds]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            figures[kind][keeps] = json.loads(done.stdout.splitlines()[-1])
    report("images", **figures)


if __name__ == "__main__":
    main()
