"""Programs in processes of their own. Nothing of them is left, however a test ends."""

import os
import signal
import subprocess
import sys
import textwrap
from contextlib import contextmanager, suppress
from pathlib import Path


def can_be_interrupted():
    """Let Ctrl-C reach the programs that are started from now on.

    A process that was started with SIGINT ignored, as by `nohup make test &`, hands that on.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def started(command, **options):
    """Start a program, in a process group of its own; the group is killed at the end of the block.

    Args:
        command: The arguments of Python.
        options: Those of `subprocess.Popen`. Outputs are pipes of text, if nothing else is said.
    """
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    command = [sys.executable, *map(str, command)]
    process = subprocess.Popen(command, **{**pipes, **options}, start_new_session=True)
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


def finished(command, timeout=240, **options):
    """Run a program to its end.

    Args:
        command: The arguments of Python.
        timeout: Seconds.
        options: Those of `subprocess.Popen`.

    Returns:
        A `subprocess.CompletedProcess`, its outputs as text.
    """
    with started(command, **options) as process:
        out, errors = process.communicate(timeout=timeout)
    return subprocess.CompletedProcess(command, process.returncode, out, errors)


def finished_strictly(code, timeout=40):
    """Run code to its end where a warning is an error."""
    return finished(["-X", "dev", "-W", "error", "-c", textwrap.dedent(code)], timeout)


def run_alone(script, *arguments, flags=(), env=None, cwd=None, timeout=240):
    """Run a script of Python, which must end well; give what it has printed.

    Args:
        script: The code, indented as it likes; or the file with it, as a path.
        arguments: What it finds in `sys.argv`.
        flags: Those of Python, before the script.
        env: Variables of the environment that differ from those here.
        cwd: Where it runs.
        timeout: Seconds.

    Returns:
        Strings: `stdout`, `stderr`.
    """
    what = [script] if isinstance(script, Path) else ["-c", textwrap.dedent(script)]
    environment = {**os.environ, **(env or {})}
    done = finished([*flags, *what, *arguments], timeout, cwd=cwd, env=environment)
    sys.stderr.write(done.stderr)  # pytest shows it where the test fails
    assert done.returncode == 0, done.stderr
    return done
