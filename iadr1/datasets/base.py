"""What describes a data set: its reader, its licence, and where it comes from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iadr1.datasets.files import Files, Missing
from iadr1.errors import ImageError
from iadr1.licences import permits_commercial
from iadr1.records import Sample


@dataclass(frozen=True)
class Hub:
    """A copy on the Hugging Face hub.

    Attributes:
        repo: Dataset repository, `owner/name`.
        files: Its files to fetch, as shell patterns; archives among them are unpacked.
        sha256: File -> SHA-256, where the owners or the hub state one; what differs is refused.
    """

    repo: str
    files: tuple[str, ...]
    sha256: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Source:
    """A data set that can be read.

    Attributes:
        scan: Its reader: takes the set's files (and the options named below), checks all of them, then yields the
            samples one by one; `DataError` where the folder is not what it should be.
        title: Its name in full.
        licence: Its licence as stated by its owners, as an SPDX id where there is one.
        page: The official page.
        citation: Authors, venue, year.
        tree: Its layout in one line.
        options: Names of the keyword options `scan` takes: `seed` (it draws), `annotations` (a file with the truth).
        hub: A copy that may be downloaded; None where there is none.
        notes: From the set's folder to what belongs into the sidecar as well, such as domain knowledge.
    """

    scan: Callable[..., Iterator[Sample]]
    title: str
    licence: str
    page: str
    citation: str
    tree: str
    options: tuple[str, ...] = ()
    hub: Hub | None = None
    notes: Callable[[Path], Mapping[str, Any]] | None = None

    @property
    def commercial(self) -> bool | None:
        """Whether the licence permits commercial use; None where that cannot be told."""
        return permits_commercial(self.licence)

    def read(self, root: Path, *, missing: Missing = "error", **options: Any) -> Iterator[Sample]:
        """The samples of a folder; `options` as the set's `scan` takes them.

        Raises:
            ImageError: At the end, where masks, or photos that are references, cannot be read.
        """
        files = Files(root, missing=missing)
        yield from self.scan(files, **options)
        if files.broken:
            path, why = next(iter(sorted(files.broken.items())))
            raise ImageError(f"{len(files.broken)} photos cannot be used, the first: {why}", where=path)
