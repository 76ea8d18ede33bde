"""The command line: options become one config, one stage is called, its summary is printed.

The only place that turns an error into a line and an exit code: 0 done, 1 something failed, 2 called wrongly,
130 interrupted. No heavy package is loaded before a command's body runs.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NoReturn

# Everything else is imported inside `main`, where Ctrl-C is no traceback.
_INTERRUPTED = 130
_FIRST_SPEAKS_S = 3.0
"""How long another process than the first waits before it says why it failed."""


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and end the process with its exit code.

    Args:
        argv: The words after `iadr1`; those of the process where None.

    Raises:
        SystemExit: Always. Unexpected exceptions pass through with their traceback.
    """
    try:
        code = _run(argv)
    except KeyboardInterrupt:
        code = _INTERRUPTED
    if code == _INTERRUPTED:  # also what Typer makes of Ctrl-C
        _say("interrupted: run the same command again to resume; what is written is kept")
    sys.exit(code)


def _run(argv: Sequence[str] | None) -> int:
    """The exit code of a call, whose error, if any, is told."""
    import logging
    import os
    import time

    import typer

    from iadr1.cli.app import app
    from iadr1.cli.values import explain
    from iadr1.errors import Iadr1Error

    # Read by OpenMP when torch is loaded. Threads that wait busily for a core somebody else uses made a training step
    # ten times slower (docs/log.md); what the user has set stays.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    try:
        return app(args=argv, prog_name="iadr1", standalone_mode=False) or 0
    except Iadr1Error as error:
        # Of processes that fail alike the first one speaks: the launcher ends the others when it is gone.
        if os.environ.get("RANK", "0") != "0":
            time.sleep(_FIRST_SPEAKS_S)
        _say(f"error: {error}")
        return error.exit_code
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)
        _say(f"error: {explain(error)} (see: {context.command_path if context else 'iadr1'} --help)")
        return error.exit_code


def _say(text: str) -> None:
    """One line on stderr, whatever line breaks and control characters the message came with."""
    from iadr1.cli.plain import plain

    sys.stderr.write(plain(" ".join(text.split())) + "\n")
