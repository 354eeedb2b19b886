"""Systems other than Linux: the import and threads work without what only Linux or POSIX has."""

import pytest
from own_process import run_alone

# A process in which those parts are missing. What Python has everywhere is imported before.
WITHOUT = """
import concurrent.futures.process, os, pathlib, signal, socket, subprocess, sys, sysconfig, tempfile
import numpy as np
import tqdm

sysconfig.get_config_vars()  # it looks for a file of the system
linux = {os: ["memfd_create", "MFD_CLOEXEC", "sched_getaffinity"]}
posix = {
    os: ["fork", "register_at_fork", "getuid", "pread", "pwrite", "killpg", "setsid"],
    signal: ["SIGKILL", "SIGHUP", "SIGALRM", "pthread_sigmask", "pthread_kill"],
    socket: ["AF_UNIX", "socketpair", "send_fds", "recv_fds"],
}
for module, names in [*linux.items(), *(posix.items() if SYSTEM == "win32" else ())]:
    for name in names:
        if hasattr(module, name):
            delattr(module, name)
if SYSTEM == "win32":
    os.name = "nt"
    pathlib.WindowsPath = pathlib.PosixPath  # the other cannot be made here
    for name in ("fcntl", "resource", "pwd", "grp", "termios", "_posixsubprocess", "_posixshmem"):
        sys.modules[name] = None
sys.platform = SYSTEM
"""

THREADS = """
from batchflow import ArrayBatch, Dataset, action
from batchflow.batch import apply_parallel
from batchflow.testing import hand_over_every_batch, nothing_left

class Rows(ArrayBatch):
    components = "x"

    @action
    def add(self):
        self.x = self.x + self.rng.normal(size=self.x.shape)
        return self

    @apply_parallel(src="x", target="threads")
    def twice(self, x):
        return x * 2

    @action(singleton=True)
    def keep(self):
        self.pipeline.v("sums").append(self.x.sum())
        return self

chain = Dataset.from_arrays(Rows, x=np.arange(40.0)).p.init_variable("sums", init_on_each_run=list)
chain = chain.add().twice().keep()
"""


def there(system, code):
    script = f"SYSTEM = {system!r}\n{WITHOUT}\n{code}"
    return run_alone(script, flags=["-W", "error"]).stdout


@pytest.mark.parametrize("system", ["win32", "darwin"])
def test_import_works(system):
    assert there(system, "import batchflow; print('imported')") == "imported\n"


@pytest.mark.parametrize("system", ["win32", "darwin"])
def test_threads_work_and_give_the_one_answer(system):
    code = """
with hand_over_every_batch(), nothing_left():
    sums = [chain.run(4, shuffle=1, prefetch=n).v("sums") for n in (0, 4)]
print(sums[0] == sums[1], len(sums[0]))
"""
    assert there(system, THREADS + code) == "True 10\n"


def test_on_windows_worker_processes_are_refused_with_the_way_to_have_them():
    code = """
try:
    chain.run(4, prefetch=2, executor="processes")
except Exception as error:
    print(type(error).__name__, error)
"""
    told = there("win32", THREADS + code)
    assert told.startswith("BatchflowError worker processes of batchflow need Linux or macOS")
    assert "executor=loky.get_reusable_executor" in told


def test_on_macos_worker_processes_share_memory_by_files_without_a_name():
    code = """
run = chain.run(4, shuffle=1, prefetch=2, executor="processes")
print(run.v("sums") == chain.run(4, shuffle=1).v("sums"))
"""
    assert there("darwin", THREADS + code) == "True\n"
