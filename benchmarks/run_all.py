"""Run every benchmark, each in a process of its own.

make bench
"""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).parent
SCRIPTS = (
    "overhead",
    "hops",
    "overlap",
    "planted",
    "planted_otherwise",
    "profile_cost",
    "ahead",
    "large_order",
    "many_ids",
    "data",
    "stored",
    "orders",
    "windows",
    "memory",
    "import_time",
    "training_loop",
    "keras_step",
    "estimator_chain",
    "language",
    "per_item",
    "items_processes",
    "images",
    "regroup",
    "processes",
    "process_pipelines",
    "behind_section",
    "checkpoints",
)

if find_spec("torch") is not None:  # an extra
    SCRIPTS = (*SCRIPTS, "torch_step")
for name in SCRIPTS:
    subprocess.run([sys.executable, str(HERE / f"{name}.py")], check=True)
