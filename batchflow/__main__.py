"""The command line: `python -m batchflow COMMAND ...`, where a command is a file of `commands/`."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

# By command, what `--help` says of it. Its module is imported when it is asked for.
_COMMANDS = {
    "doctor": "what is installed here, and what would slow down or break a run",
    "checkpoints": "list the checkpoints of a directory, and whether they are whole",
    "check": "take a few items through a pipeline of a file, and report what each step does",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: What stands behind `python -m batchflow`; None: those of this process.

    Returns:
        The exit status: 0 without problems, 1 with problems, 2 for wrong arguments.
    """
    parser = argparse.ArgumentParser("python -m batchflow", description=__doc__)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    given = sys.argv[1:] if arguments is None else list(arguments)
    for name, summary in _COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary)
        if name in given[:1]:
            importlib.import_module(f"batchflow.commands.{name}").add_arguments(command)
    chosen = parser.parse_args(given)
    status: int = importlib.import_module(f"batchflow.commands.{chosen.command}").run(chosen)
    return status


if __name__ == "__main__":
    sys.exit(main())
