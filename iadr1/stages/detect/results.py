"""The records of a run as they come, and what becomes of those that lie in the folder already."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any

from iadr1.config import DetectConfig
from iadr1.errors import DataError
from iadr1.provenance import write_run
from iadr1.records import Detection, RecordWriter
from iadr1.stages.detect.folder import RECORDS, clear, take_up
from iadr1.stages.detect.settings import folder_of
from iadr1.stages.inspection import Finding, Loaded, Photo, artefacts


class Results:
    """Writes records, masks, overlays and the first `run.json` into a folder that is `claim`ed; used in a `with` block.

    What is to be replaced stays until the first photo has been answered: a model that cannot be asked costs nobody the
    results that are there. What fails before is kept in memory.

    Args:
        config: `images`, `out`, `shard` and `overlays` are read.
        info: What `run.json` says until the run is at its end.
        replace: Whether the folder holds a run that is to be replaced.
    """

    def __init__(self, config: DetectConfig, info: Mapping[str, Any], *, replace: bool) -> None:
        self._config, self._info, self._out, self._replace = config, info, folder_of(config), replace
        self._writer: RecordWriter | None = None
        self._failed: list[Detection] = []
        self._open = ExitStack()

    def __enter__(self) -> Results:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._open:
            if error is None and not (self._replace and self._failed and self._writer is None):
                self._begun()
        if error is None and self._writer is None:
            raise DataError(
                f"none of the {len(self._failed)} photos could be looked at, so that nothing is replaced; the first: "
                f"{self._failed[0].error}",
                where=str(self._out),
                hint="name another --out for a run of nothing but errors",
            )

    def waiting(self, photos: Sequence[Photo]) -> Sequence[Photo]:
        """The photos that are still to be looked at; what an earlier run left is put in order first (`take_up`).

        Raises:
            DataError: The records cannot be read.
            OutputError: The folder cannot be written to.
        """
        if self._replace:
            return photos
        write_run(self._out, self._info)
        done = take_up(self._config, self._out, photos)
        self._begun()
        return [photo for photo in photos if photo.name not in done]

    def add(self, batch: Sequence[Loaded], findings: Iterable[Finding]) -> None:
        """Write the records of a batch, with their pictures, through to the disk.

        Raises:
            OutputError: Something cannot be written.
        """
        for item, finding in zip(batch, findings, strict=True):
            if self._writer is None and finding.record.error is not None:
                self._failed.append(finding.record)
                continue
            writer = self._begun()
            writer.write(artefacts.write(finding, self._out, item.photo.slug, overlays=self._config.overlays))
        if self._writer is not None:
            self._writer.flush()

    def _begun(self) -> RecordWriter:
        """The open file; what it replaces goes before it is opened."""
        if self._writer is None:
            if self._replace:
                clear(self._out)
                write_run(self._out, self._info)
            self._writer = self._open.enter_context(RecordWriter(self._out / RECORDS))
            for record in self._failed:
                self._writer.write(record)
        return self._writer
