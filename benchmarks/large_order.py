"""What does a shuffled run over 10**9 ids cost?

Measured in fresh processes: the time from the call to the first shuffled batch of 64, the peak
memory that it adds, and the time of each further batch.

    python benchmarks/large_order.py

Required: 30 ms, 20 MB, 20 microseconds per batch; aimed at: 10 ms, 5 MB, 10 microseconds.
"""

import subprocess
import sys

from measure import report, spread

SCRIPT = """
import resource, time
from batchflow import Dataset

def memory():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

before = memory()
start = time.perf_counter()
run = Dataset(10**9).gen_batch(64, shuffle=True, seed=1)
next(run)
first = time.perf_counter() - start
start = time.perf_counter()
for _ in range(10_000):
    next(run)
each = (time.perf_counter() - start) / 10_000
print(first * 1e3, each * 1e6, memory() - before)
"""


def main():
    figures = []
    for _ in range(11):
        out = subprocess.run([sys.executable, "-c", SCRIPT], check=True, capture_output=True)
        figures.append([float(figure) for figure in out.stdout.split()])
    first, each, memory = zip(*figures, strict=True)
    report(
        "large_order",
        first_batch_milliseconds=spread(first),
        each_next_batch_microseconds=spread(each),
        peak_memory_megabytes=spread(memory),
    )


if __name__ == "__main__":
    main()
