"""The loop: look into the folder, take what has arrived, inspect it, write the record."""

from __future__ import annotations

import os
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from iadr1.config import WatchConfig
from iadr1.errors import ImageError, ModelChoiceError, ModelError
from iadr1.images import open_image
from iadr1.records import Detection
from iadr1.stages.inspection import Finding, Inspector, Loaded, Photo, References, artefacts, load_batches, utf8
from iadr1.stages.inspection.photos import LEAST_SIDE, check_side, content_slug
from iadr1.stages.inspection.setup import photos_at_a_time
from iadr1.stages.watch.arrivals import Arrivals, Tracked, read_whole
from iadr1.stages.watch.events import Listener, Status, Stop
from iadr1.stages.watch.journal import Journal
from iadr1.stages.watch.lookout import Lookout
from iadr1.stages.watch.quarantine import Quarantine
from iadr1.stages.watch.suspects import Suspects

FIRST_PAUSE_S = 1.0
"""Pause before a file is tried again; it doubles with each further one."""
LONGEST_PAUSE_S = 300.0
_KNOWN_NAMES_S = 1.0
"""After a start all files are read once, to see which have been looked at; after this long, new names have a turn."""


class _Taken(NamedTuple):
    """A file that is looked at; `sha256` is empty where it cannot be read."""

    name: str
    file: Tracked
    sha256: str


@dataclass(frozen=True)
class Places:
    """Where photos come from and go to.

    Attributes:
        arrivals: The photos.
        journal: The records.
        quarantine: Where bad files go; None to leave them where they are.
        out: Folder of the results.
        announce: Takes the bytes that are whole records now, and the new records.
    """

    arrivals: Arrivals
    journal: Journal
    quarantine: Quarantine | None
    out: Path
    announce: Callable[[int, list[Detection]], None]


class Watcher:
    """Looks at each photo of a folder once.

    Args:
        config: How often, how many at a time, and how patiently.
        inspector: Draws the verdicts.
        references: Photos of normal products; None for none.
        places: Where photos come from and go to.
        listener: Who is told.

    Attributes:
        counts: Photos looked at, by verdict.
        errors: Of these, those that could not be.
        unanswered: Photos given up without a record (`once` only).
        lookout: What it sees of the folder.
    """

    def __init__(
        self,
        config: WatchConfig,
        inspector: Inspector,
        references: References | None,
        places: Places,
        listener: Listener,
    ) -> None:
        self._config, self._inspector, self._references = config, inspector, references
        self._arrivals, self._journal, self._places = places.arrivals, places.journal, places
        self._listener = listener
        self.counts: Counter[str] = Counter()
        self.errors = self.unanswered = self._answered = 0
        self._silent = ""
        self.lookout = Lookout(places.arrivals, listener.note, once=config.once)
        self._suspects = Suspects(places.out, has=places.journal.has, note=listener.note)
        self._bad: list[tuple[_Taken, str]] = []
        self._ready: deque[tuple[str, Tracked]] = deque()

    @property
    def trouble(self) -> str:
        """What keeps it from working; empty where nothing does."""
        return "; ".join(filter(None, (self.lookout.trouble, self._silent)))

    @property
    def waiting(self) -> int:
        """Files with which something is still to be done."""
        return self._arrivals.waiting

    def run(self, stop: Stop, status: Callable[[], Status]) -> None:
        """Go on until it is told to stop, has done as many photos as wanted, or with `once` all.

        Raises:
            DataError: The folder is gone (`once` only).
            ModelError: The model cannot be used; a server that has answered before is waited for instead.
            OutputError: A result cannot be written.
        """
        next_look = 0.0
        while not stop.requested:
            if time.monotonic() >= next_look:
                self._look()
                next_look = time.monotonic() + self._config.interval
            if self._finished():
                break
            taken = [] if self.lookout.gone else self._take()
            self._commit()
            held = [(utf8(one.name), one.sha256) for one in taken]
            with self._suspects.in_hand(held, counts=self._answered > 0):
                for batch in self._loaded(taken):
                    self._inspect(batch)
                    self._listener.status(status())
                    if stop.requested:
                        break
            self._listener.status(status())
            if not taken and not self._ready:
                stop.wait(next_look - time.monotonic())

    def _finished(self) -> bool:
        return self._left() == 0 or (self._config.once and self.waiting == 0)

    def _left(self) -> int | None:
        """How many photos are still wanted; None for any number."""
        return max(0, self._config.max_photos - self.counts.total()) if self._config.max_photos else None

    # what has arrived

    def _look(self) -> None:
        if not self.lookout.look():
            self._ready.clear()
            return
        ready = ((utf8(name), (name, file)) for name, file in self._arrivals.arrived())
        order = sorted(ready, key=lambda item: (self._suspects.rank(item[0]), self._journal.knows(item[0])))
        self._ready = deque(item for _, item in order)

    def _take(self) -> list[_Taken]:
        """The next photos that have no record: at most a batch of them, or one that a watcher may have ended at."""
        most, until = photos_at_a_time(self._config), time.monotonic() + _KNOWN_NAMES_S
        left = self._left()
        most = most if left is None else min(most, left)
        taken: list[_Taken] = []
        while self._ready and len(taken) < most and time.monotonic() <= until:
            if utf8(self._ready[0][0]) in self._suspects:
                most = 1
                if taken:
                    break
            found = self._read(*self._ready.popleft())
            if found is not None and not self._is_done(found) and not self._is_given_up(found):
                taken.append(found)
        return taken

    def _read(self, name: str, file: Tracked) -> _Taken | None:
        try:
            sha256 = read_whole(self._arrivals.root / name, file.stamp)
        except OSError as error:
            self._unreadable(_Taken(name, file, ""), error)
            return None
        if sha256 is None:
            self._arrivals.unsettle(name)
            return None
        return _Taken(name, file, sha256)

    def _unreadable(self, taken: _Taken, error: OSError) -> None:
        path = self._arrivals.root / taken.name
        if path.is_symlink() or not os.path.lexists(path):
            self._arrivals.unsettle(taken.name)
        else:
            reason = f"cannot read the file: {error.strerror}"
            self._fail(taken, Detection(image=utf8(taken.name), verdict="undecided", error=reason))

    def _is_done(self, taken: _Taken) -> bool:
        """Whether a photo has a record. A bad file that is still there is moved now: a kill came before that."""
        name = utf8(taken.name)
        if not self._journal.has(name, taken.sha256):
            return False
        taken.file.done = True
        failed = self._journal.failed(name, taken.sha256) and not self._suspects.given_up(name, taken.sha256)
        fault = self._fault(taken) if failed else None
        if fault is not None:
            self._set_aside(taken, fault)
        return True

    def _is_given_up(self, taken: _Taken) -> bool:
        """Whether watchers have ended at a photo so often that this one records that, and leaves it alone."""
        name = utf8(taken.name)
        ends = self._suspects.ends(name, taken.sha256)
        if ends < self._config.attempts:
            return False
        self._suspects.give_up(name, taken.sha256)
        error = f"the watcher ended {ends} times while it looked at this photo alone, after it had looked at others"
        self._keep(taken, Detection(image=name, image_sha256=taken.sha256, verdict="undecided", error=error))
        return True

    # looking at it

    def _loaded(self, taken: Sequence[_Taken]) -> Iterator[list[tuple[_Taken, Loaded]]]:
        photos = [
            Photo(self._arrivals.root / one.name, utf8(one.name), content_slug(utf8(one.name), one.sha256))
            for one in taken
        ]
        following = iter(taken)
        for batch in load_batches(photos, self._references, max(1, len(photos))):
            yield [(next(following), item) for item in batch]

    def _inspect(self, batch: Sequence[tuple[_Taken, Loaded]]) -> None:
        unfinished = list(batch)
        try:
            for (taken, item), finding in zip(
                batch, self._inspector.findings([item for _, item in batch]), strict=True
            ):
                self._conclude(taken, item, finding)
                unfinished.pop(0)
        except ModelChoiceError:
            raise
        except ModelError as error:
            if self._config.engine != "server" or not self._answered:
                raise
            for taken, item in unfinished:
                record = Detection(image=item.photo.name, verdict="undecided", error=utf8(str(error)))
                self._unanswered(taken, record.model_copy(update={"image_sha256": taken.sha256}))
        self._commit()

    def _conclude(self, taken: _Taken, item: Loaded, finding: Finding) -> None:
        if not self._is_same(taken, item):
            self._arrivals.unsettle(taken.name)
            return
        record = finding.record.model_copy(update={"image_sha256": taken.sha256})
        if record.error is None:
            written = artefacts.write(finding, self._places.out, item.photo.slug, overlays=self._config.overlays)
            self._keep(taken, written.model_copy(update={"image_sha256": taken.sha256}))
            self._answered += 1
            if self._silent:
                self._silent = ""
                self._listener.note("photos are answered again")
        elif (item.image is None or min(item.image.size) < LEAST_SIDE) and self._fault(taken) is not None:
            self._fail(taken, record)
        else:
            self._unanswered(taken, record)

    def _is_same(self, taken: _Taken, item: Loaded) -> bool:
        """Whether what was looked at are the bytes that were taken."""
        if item.sha256 is not None:
            return item.sha256 == taken.sha256
        try:
            return read_whole(item.photo.path, taken.file.stamp) == taken.sha256
        except OSError:
            return False

    def _fault(self, taken: _Taken) -> str | None:
        """What is wrong with the file itself; None where it is a photo and its reference or the model is to blame."""
        path = self._arrivals.root / taken.name
        try:
            check_side(open_image(path, single=True).size, what="photo", where=str(path))
        except ImageError as error:
            return utf8(str(error))
        return None

    # what becomes of it

    def _keep(self, taken: _Taken, record: Detection) -> None:
        self._journal.write(record)
        taken.file.done = True

    def _fail(self, taken: _Taken, record: Detection) -> None:
        """A file that is no photo: tried again, then recorded and moved aside."""
        try:
            os.scandir(self._arrivals.root).close()
        except OSError:  # the share is gone, not the file bad
            self._arrivals.put_off(taken.file, FIRST_PAUSE_S)
            return
        taken.file.tries += 1
        if taken.file.tries < self._config.attempts:
            self._put_off(taken.file)
            return
        if self._journal.has(record.image, taken.sha256):
            # Unreadable, so known by its name alone: an earlier run was killed before the move, or could not do it.
            taken.file.done = True
        else:
            self._keep(taken, record)
        self._bad.append((taken, record.error or ""))

    def _unanswered(self, taken: _Taken, record: Detection) -> None:
        """A good file that the model gave no answer about: it stays where it is.

        A try counts where the model has answered about another photo since the last one, so that a server may be away
        for as long as it likes, and a photo that it always refuses gets its record.
        """
        file = taken.file
        if self._config.engine != "server" or self._answered > file.answered:
            file.tries += 1
        file.answered = self._answered
        if not self._silent:
            self._listener.note(f"no answer, tried again later: {record.error}")
        self._silent = record.error or ""
        if file.tries >= self._config.attempts:
            self._keep(taken, record)
        elif self._config.once and file.pauses + 1 >= self._config.attempts:
            file.done = True
            self.unanswered += 1
        else:
            self._put_off(file)

    def _put_off(self, file: Tracked) -> None:
        self._arrivals.put_off(file, min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(file.pauses, 20)))
        file.pauses += 1

    def _commit(self) -> None:
        written = self._journal.commit()
        if written:
            self.counts.update(record.verdict for record in written)
            self.errors += sum(record.error is not None for record in written)
            self._places.announce(self._journal.committed, written)
        for record in written:
            self._listener.photo(record)
        bad, self._bad = self._bad, []
        for taken, reason in bad:
            self._set_aside(taken, reason)

    def _set_aside(self, taken: _Taken, reason: str) -> None:
        if self._places.quarantine is None:
            return
        try:
            place = self._places.quarantine.take(taken.name, taken.file.stamp, reason)
        except OSError as error:
            self._listener.note(f"{utf8(taken.name)}: cannot be moved aside: {error.strerror or error}")
            return
        if place is not None:
            self._listener.note(f"{utf8(taken.name)}: moved to {utf8(str(place))}")
