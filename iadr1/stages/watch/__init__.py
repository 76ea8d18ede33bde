"""`iadr1 watch`: looks at every photo that a camera drops into a folder, each exactly once."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from iadr1.config import WatchConfig
from iadr1.masks import load_segmenter
from iadr1.models import Engine
from iadr1.provenance import describe, write_run
from iadr1.stages.inspection import Inspector
from iadr1.stages.inspection.setup import engine_of, references_of, settings_of
from iadr1.stages.watch.arrivals import QUARANTINE, Arrivals
from iadr1.stages.watch.courier import Courier
from iadr1.stages.watch.events import Listener, Status, Stop, WatchSummary
from iadr1.stages.watch.folder import check_owner, check_places, locked
from iadr1.stages.watch.journal import Journal
from iadr1.stages.watch.outbox import Outbox
from iadr1.stages.watch.quarantine import Quarantine
from iadr1.stages.watch.settings import check_settings, sinks_of, without_secrets
from iadr1.stages.watch.sinks import Sink
from iadr1.stages.watch.watcher import Places, Watcher

__all__ = ["Listener", "Status", "Stop", "WatchSummary", "run"]


def run(
    config: WatchConfig, *, listener: Listener | None = None, stop: Stop | None = None, engine: Engine | None = None
) -> WatchSummary:
    """Look at every photo of a folder as it arrives; write records, masks, overlays and `summary.csv`, and send them.

    A photo is the same bytes under the same name. It is done when its record is on the disk; masks and overlay are
    written before, the message about it follows from the record.

    Args:
        config: The stage's settings.
        listener: Who is told.
        stop: Ends it after the photos that are being looked at; None to go on for ever, unless `once` or `max_photos`.
        engine: A loaded engine instead of the one `config` names.

    Raises:
        UsageError: A setting that cannot be, no such folder, or another watcher writes into `out`.
        ModelError: The model cannot be loaded or used.
        OutputError: A result cannot be written, for example since the disk is full.
    """
    check_settings(config, engine_given=engine is not None)
    root, out = config.folder.resolve(), config.out.resolve()
    check_places(root, out)
    sinks = sinks_of(config)
    listener, stop = listener or Listener(), stop or Stop()
    references = references_of(config, listener.note, out=out)
    quarantine = None if config.keep else Quarantine(root)
    with locked(out):
        check_owner(root, out)
        inspector = _inspector(config, engine or engine_of(config, listener.note), root, out, sinks)
        with Journal(out) as journal, _sending(config, journal, sinks, listener) as (outbox, couriers):
            left_out = [QUARANTINE, *([out.relative_to(root).as_posix()] if root in out.parents else [])]
            arrivals = Arrivals(root, settle=config.settle, glob=config.glob, left_out=left_out)
            places = Places(arrivals, journal, quarantine, out, outbox.announce)
            watcher = Watcher(config, inspector, references, places, listener)
            earlier = len(journal)
            watcher.run(stop, lambda: _status(watcher, couriers))
        return WatchSummary(
            _status(watcher, couriers), config.out, earlier, watcher.unanswered, dict(watcher.lookout.unread)
        )


def _inspector(config: WatchConfig, engine: Engine, root: Path, out: Path, sinks: Sequence[Sink]) -> Inspector:
    settings = settings_of(config, engine)
    segmenter = load_segmenter(config.segmenter, device=config.device) if config.masks else None
    told = {"watched": str(root), "asked": settings.digest, "model": engine.model, "weights": engine.fingerprint}
    write_run(out, describe("watch", without_secrets(config, sinks), extra=told))
    return Inspector(engine, settings, segmenter=segmenter)


@contextmanager
def _sending(
    config: WatchConfig, journal: Journal, sinks: Sequence[Sink], listener: Listener
) -> Iterator[tuple[Outbox, list[Courier]]]:
    """The sinks' threads; at the end they have `drain_s` seconds for what is left, also after an error."""
    outbox = Outbox(journal.path, journal.committed, kinds=[sink.kind for sink in sinks], send=config.send)
    couriers = [Courier(sink, outbox, timeout_s=config.send_timeout_s, note=listener.note) for sink in sinks]
    with ExitStack() as stack:
        stack.callback(outbox.close)
        for courier in couriers:
            stack.callback(courier.join)
        try:
            yield outbox, couriers
        finally:
            deadline = time.monotonic() + config.drain_s
            for courier in couriers:
                courier.finish(deadline)


def _status(watcher: Watcher, couriers: Sequence[Courier]) -> Status:
    return Status(
        counts={verdict: watcher.counts[verdict] for verdict in ("anomalous", "normal", "undecided")},
        errors=watcher.errors,
        waiting=watcher.waiting,
        trouble=watcher.trouble,
        sinks={courier.sink.kind: (courier.counts, courier.trouble) for courier in couriers},
    )
