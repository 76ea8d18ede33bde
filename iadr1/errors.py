"""The error kinds of iadr1; only the command line turns one into a line on stderr and an exit code.

Every message says what is wrong and with which value; `where` names the file (and line), `hint` the next step.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection


class Iadr1Error(Exception):
    """Base of every error a user can mend; exit code 1.

    Args:
        message: What is wrong, with the offending value.
        where: File, line or record it happened in, for example `samples.jsonl:12`.
        hint: What to do next.
    """

    exit_code = 1

    def __init__(self, message: str, *, where: str | None = None, hint: str | None = None) -> None:
        self.message, self.where, self.hint = message, where, hint
        super().__init__(str(self))

    def __str__(self) -> str:
        """One line: `where: message (hint)`."""
        prefix = f"{self.where}: " if self.where else ""
        suffix = f" ({self.hint})" if self.hint else ""
        return f"{prefix}{self.message}{suffix}"


class UsageError(Iadr1Error):
    """The command was called wrongly: unknown option value, missing folder, contradicting options; exit code 2.

    A message about a setting begins with its field's name, as in `batch_size is 0, it must be at least 1`: the command
    line names the option in its place.
    """

    exit_code = 2


class ConfigError(UsageError):
    """A recipe or a `key=value` override is wrong; exit code 2."""


class DataError(Iadr1Error):
    """A dataset file or record is not what its format says."""


class ImageError(DataError):
    """An image cannot be read or is outside the supported size."""


class ModelError(Iadr1Error):
    """A model cannot be found, loaded or used for what was asked."""


class NoProbabilitiesError(ModelError):
    """A model answers, but gives no probabilities of the words asked for, of one request or of any."""


class ModelChoiceError(ModelError, UsageError):
    """What was named does not exist: no such model, engine, device or number format; exit code 2."""


class OutputError(Iadr1Error):
    """A result cannot be written."""


class MissingExtraError(UsageError):
    """An optional dependency is not installed; the message holds the install command."""

    def __init__(self, package: str, extra: str, *, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package '{package}'", hint=f'install it with: pip install "iadr1[{extra}]"'
        )


def dashed(name: str) -> str:
    """A setting's name as the command line writes it, without the dashes before it."""
    return name.replace("_", "-")


def no_effect(name: str, value: object, why: str) -> UsageError:
    """The error about a setting that was given and that nothing would read.

    Args:
        name: Of the config's field.
        value: What was given.
        why: Why nothing reads it, or what is to be added so that something does.
    """
    option = dashed(name)
    given = f"--{'' if value else 'no-'}{option}" if isinstance(value, bool) else f"--{option} {value}"
    hint = "or leave it out" if "add --" in why else "leave it out"
    return UsageError(f"{given} has no effect: {why}", hint=hint)


def nearest(name: object, known: Collection[str], *, what: str = "known") -> str:
    """The hint of an error about an unknown name: `did you mean 'mmad'?`, or where none is like it all that is known.

    Args:
        name: What was given.
        known: The names there are.
        what: What the list is called.
    """
    close = closest(str(name), known)
    return f"did you mean {close!r}?" if close is not None else f"{what}: {', '.join(known)}"


def closest(name: str, known: Collection[str], *, cutoff: float = 0.6) -> str | None:
    """The known name that is most like a name in any letter case; None where none is.

    Args:
        name: What was given.
        known: The names there are.
        cutoff: Smallest likeness, 0..1 (difflib's ratio).
    """
    folded = {one.lower(): one for one in known}
    close = difflib.get_close_matches(name.lower(), folded, n=1, cutoff=cutoff)
    return folded[close[0]] if close else None
