"""Looks into the watched folder, and tells once what keeps photos from being seen."""

from __future__ import annotations

from collections.abc import Callable

from iadr1.errors import DataError
from iadr1.stages.inspection import utf8
from iadr1.stages.watch.arrivals import Arrivals


class Lookout:
    """Tells when the folder goes away and is back, and of each link and unreadable sub-folder once while it is so.

    Args:
        arrivals: The photos of the folder.
        note: Takes one line about something out of the ordinary.
        once: There is no later look, so a folder that is gone is an error.

    Attributes:
        gone: Why the folder cannot be read at the moment; empty where it can.
        unread: Sub-folders that cannot be read, and why; what is in them is not seen.
    """

    def __init__(self, arrivals: Arrivals, note: Callable[[str], None], *, once: bool) -> None:
        self._arrivals, self._note, self._once = arrivals, note, once
        self.gone = ""
        self.unread: dict[str, str] = {}
        self._links: set[str] = set()

    @property
    def trouble(self) -> str:
        """What keeps photos from being seen; empty where nothing does."""
        folders = "1 folder" if len(self.unread) == 1 else f"{len(self.unread)} folders"
        return self.gone or (f"{folders} cannot be read" if self.unread else "")

    def look(self) -> bool:
        """See what is there now; whether the folder could be read.

        Raises:
            DataError: It could not (`once` only).
        """
        try:
            self._arrivals.look()
        except OSError as error:
            message = f"the folder {str(self._arrivals.root)!r} cannot be read ({error.strerror})"
            if self._once:
                raise DataError(message) from error
            if not self.gone:
                self._note(f"{message}: waiting for it")
            self.gone = message
            return False
        if self.gone:
            self._note("the folder is back")
        self.gone = ""
        self._tell()
        return True

    def _tell(self) -> None:
        for link in sorted(self._arrivals.links - self._links):
            self._note(f"{utf8(link)}: a symbolic link, not followed")
        found = {self._shown(folder): why for folder, why in self._arrivals.unread.items()}
        for folder in sorted(found.keys() - self.unread.keys()):
            self._note(f"{folder}: cannot be read ({found[folder]}), photos in it are not seen")
        self._links, self.unread = self._arrivals.links, found

    def _shown(self, folder: str) -> str:
        return utf8(str(self._arrivals.root) if folder == "." else f"{folder}/")
