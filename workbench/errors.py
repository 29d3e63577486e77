"""Errors that end a command: each says what happened, then what to do, and has its own exit code.

Refuses to carry any diary text: a message names files, keys and counts only.
"""

import sys
from collections.abc import Callable


class WorkbenchError(Exception):
    """Any refusal of the workbench; `exit_code` is what the command ends with."""

    exit_code = 1

    def __init__(self, happened: str, remedy: str) -> None:
        super().__init__(f"{happened}\n  -> {remedy}")
        self.happened = happened
        self.remedy = remedy


class PlanError(WorkbenchError):
    """`workbench.toml` or the workload it names cannot be used."""

    exit_code = 2


class SourceError(WorkbenchError):
    """The model source is missing, unpinned, unsafe or has no trained head."""

    exit_code = 3


class VariantError(WorkbenchError):
    """A variant is missing, damaged or was built from something else."""

    exit_code = 4


class RecordError(WorkbenchError):
    """A record file is missing, damaged or does not hold what is asked of it."""

    exit_code = 5


class BenchError(WorkbenchError):
    """A measurement could not be set up."""

    exit_code = 6


class NoWinnerError(WorkbenchError):
    """Every variant was rejected by a gate."""

    exit_code = 7


class DataError(WorkbenchError):
    """A file of labelled text has a bad line; the message names file and line."""

    exit_code = 8


def run_command(command: Callable[[], None]) -> None:
    """Run `command` and turn a refusal into its message on stderr and its exit code."""
    try:
        command()
    except WorkbenchError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("stopped; what was written is kept, the same command goes on from there", file=sys.stderr)
        sys.exit(130)
