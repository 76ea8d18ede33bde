"""A user's own reward, named by its dotted path: imported, and called so that its faults are named as its own."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from iadr1.errors import UsageError
from iadr1.prompts import Answer
from iadr1.records import Sample
from iadr1.rewards.base import Reward

_CALLED = "a reward is called as reward(answer, sample) and returns a number, or None where it does not apply"
_IMPORTED = "the module is run when it is imported; it must do so without errors"


@dataclass(frozen=True)
class OwnReward:
    """A function of a user's module as a reward.

    Attributes:
        path: As it was named, `package.module:function`.
        function: The function.
    """

    path: str
    function: Reward

    def __call__(self, answer: Answer, sample: Sample) -> float | None:
        """What the function gives.

        Raises:
            UsageError: It raised something; the reward, the sample and the line of its code are named.
        """
        with _Blamed(f"the reward {self.path!r} failed for sample {sample.id!r}", _CALLED):
            return self.function(answer, sample)


def import_reward(path: str) -> OwnReward:
    """The function that `package.module:function` names, looked up in the current folder too.

    Raises:
        UsageError: No such module or function, or the module cannot be imported, whatever it raises.
    """
    module_name, _, function_name = path.partition(":")
    with _current_folder_importable(), _Blamed(f"cannot import the reward {path!r}", _IMPORTED):
        try:
            module = importlib.import_module(module_name)
        except ImportError as error:
            raise UsageError(
                f"cannot import the reward {path!r}: {error}", hint="the module must be installed or lie below here"
            ) from error
    function = getattr(module, function_name, None)
    if not callable(function):
        raise UsageError(f"the module {module_name!r} has no function {function_name!r}", where=module.__file__)
    return OwnReward(path, function)


class _Blamed:
    """Turns whatever a user's own code raises into a `UsageError` that says what failed, where and how.

    Such code may raise anything, `SystemExit` too. Ctrl-C passes. The place is the outermost line of that code; there
    is none where it was called with the wrong arguments or is no Python.
    """

    def __init__(self, message: str, hint: str) -> None:
        self._message, self._hint = message, hint

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or isinstance(error, UsageError | KeyboardInterrupt):
            return
        said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        # The first line is this module's call, what follows may be Python's machinery of imports.
        frames = [frame for frame in traceback.extract_tb(trace)[1:] if "importlib" not in frame.filename]
        place = f" at {frames[0].filename}:{frames[0].lineno}" if frames else ""
        raise UsageError(f"{self._message}{place}: {said}", hint=self._hint) from error


@contextmanager
def _current_folder_importable() -> Iterator[None]:
    """A console script, unlike `python -m`, does not look for modules in the current folder."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)
