"""Photos that were being looked at when the watcher ended out of order: they come last and alone, and are given up.

Whatever ends a process (a decoder or driver that crashes, memory that does not suffice, an error nobody foresaw) would
end it again at the same photo after each start, and the line would stand still.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from iadr1.atomic import write_text_atomic
from iadr1.errors import OutputError
from iadr1.records import Record

IN_HAND = "looking.json"


class _Suspect(Record):
    """A photo; `ends` are the times that it was looked at alone, others having been answered, and never let go of."""

    image: str
    sha256: str
    ends: int = Field(default=0, ge=0)
    given_up: bool = False


class _File(Record):
    """`looking.json`: what is being looked at, and what was when earlier watchers ended."""

    version: Literal[1] = 1
    photos: tuple[_Suspect, ...]


class Suspects:
    """What a watcher has in hand, on the disk for the one that comes after it.

    It is not written through to the disk: a power failure is no photo's fault.

    Args:
        out: The folder of the results.
        has: Whether a photo, by name and SHA-256, has a record.
        note: Takes one line where the file cannot be read; it then counts as empty.

    Raises:
        OutputError: The folder cannot be written to.
    """

    def __init__(self, out: Path, *, has: Callable[[str, str], bool], note: Callable[[str], None]) -> None:
        self._path = out / IN_HAND
        found = _read(self._path, note)
        self._known = {one.image: one for one in found if one.given_up or not has(one.image, one.sha256)}
        self._write(self._known)

    def __contains__(self, name: str) -> bool:
        return name in self._known

    def rank(self, name: str) -> int:
        """0 for what is no suspect; of these the one looked at longest ago is first, so that each has its turn."""
        return 1 + list(self._known).index(name) if name in self._known else 0

    def ends(self, name: str, sha256: str) -> int:
        """How often a watcher has ended at this photo, as far as that tells against it."""
        return self._of(name, sha256).ends

    def given_up(self, name: str, sha256: str) -> bool:
        """Whether it is never to be opened again."""
        return self._of(name, sha256).given_up

    def _of(self, name: str, sha256: str) -> _Suspect:
        known = self._known.get(name)
        return known if known is not None and known.sha256 == sha256 else _Suspect(image=name, sha256=sha256)

    @contextmanager
    def in_hand(self, photos: Sequence[tuple[str, str]], *, counts: bool) -> Iterator[None]:
        """While photos are looked at it stands on the disk which they are.

        Args:
            photos: Name and SHA-256 of each.
            counts: An end meanwhile tells against suspects among them.

        Raises:
            OutputError: That cannot be written.
        """
        if not photos:
            yield
            return
        held = {one.image: one for one in (self._of(*photo) for photo in photos)}
        raised = {
            name: one.model_copy(update={"ends": one.ends + (counts and name in self._known)})
            for name, one in held.items()
        }
        self._write({name: one for name, one in self._known.items() if name not in raised} | raised)
        try:
            yield
        except (OutputError, KeyboardInterrupt):  # the disk's or the user's doing, not the photos'
            self._write(self._known)
            raise
        for name in held:
            self._known.pop(name, None)
        self._write(self._known)

    def give_up(self, name: str, sha256: str) -> None:
        """Never open it again.

        Raises:
            OutputError: That cannot be written.
        """
        self._known[name] = self._of(name, sha256).model_copy(update={"given_up": True})
        self._write(self._known)

    def _write(self, photos: dict[str, _Suspect]) -> None:
        if photos:
            write_text_atomic(self._path, _File(photos=tuple(photos.values())).model_dump_json(indent=2) + "\n")
            return
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"cannot remove: {error.strerror}", where=str(self._path)) from error


def _read(path: Path, note: Callable[[str], None]) -> tuple[_Suspect, ...]:
    try:
        return _File.model_validate_json(path.read_bytes()).photos
    except FileNotFoundError:
        return ()
    except (OSError, ValidationError):
        note(f"{path}: cannot be read and is removed; it named photos that earlier watchers may have ended at")
        return ()
