"""How long does `import batchflow` take, against `import numpy`?

Interleaved fresh processes.

    python benchmarks/import_time.py

Required: at most 1.5 times `import numpy`, and none of the heavy packages loaded.
"""

import compileall
import subprocess
import sys
from pathlib import Path

from measure import interleaved, ratios, report

HEAVY = ("tensorflow", "keras", "torch", "pandas", "dill", "tqdm")


def importing(name):
    return lambda: subprocess.run([sys.executable, "-c", f"import {name}"], check=True)


def main():
    # As `pip install` leaves it: an editable install may have no compiled files yet.
    compileall.compile_dir(Path(__file__).parents[1] / "batchflow", quiet=1)
    seconds, _ = interleaved(
        15, nothing=importing("sys"), numpy=importing("numpy"), batchflow=importing("batchflow")
    )
    code = f"import sys, batchflow; print([m for m in {HEAVY} if m in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    start_up = min(seconds["nothing"])
    net = {name: min(times) - start_up for name, times in seconds.items()}
    report(
        "import_time",
        process_ratio_to_numpy=ratios(seconds, "numpy")["batchflow"],
        import_ratio_to_numpy=round(net["batchflow"] / net["numpy"], 3),
        heavy_packages_loaded=loaded.stdout.decode().strip(),
    )


if __name__ == "__main__":
    main()
