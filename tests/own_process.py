"""Scripts that tests run in a process of their own."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path


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
    done = subprocess.run(
        [sys.executable, *flags, *what, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout,
        cwd=cwd,
        env={**os.environ, **(env or {})},
        check=False,
    )
    sys.stderr.write(done.stderr)  # pytest shows it where the test fails
    assert done.returncode == 0, done.stderr
    return done
