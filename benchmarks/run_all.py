"""Run every benchmark, each in a process of its own.

make bench
"""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
SCRIPTS = (
    "overhead",
    "hops",
    "overlap",
    "ahead",
    "large_order",
    "data",
    "memory",
    "import_time",
    "training_loop",
    "keras_step",
    "language",
    "per_item",
    "items_processes",
    "regroup",
    "processes",
    "process_pipelines",
    "behind_section",
)

for name in SCRIPTS:
    subprocess.run([sys.executable, str(HERE / f"{name}.py")], check=True)
