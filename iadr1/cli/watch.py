"""`iadr1 watch`: every photo that a camera drops into a folder, each exactly once."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from iadr1 import config as configs
from iadr1.cli import terminal
from iadr1.cli.options import SHOTS, option, server_options
from iadr1.cli.plain import named, plain

if TYPE_CHECKING:
    from types import FrameType

    from iadr1.records import Detection
    from iadr1.stages.watch import Listener, Status, Stop, WatchSummary

EPILOG = (
    "Example: `iadr1 watch photos/ --out runs/line3` looks at what is in photos/ and at everything that comes in, and "
    "writes detections.jsonl, masks/, overlays/ and summary.csv to runs/line3. Ctrl-C ends it; the same command goes "
    "on.\n\n"
    "Look at what is there and stop, for a timer: `iadr1 watch photos/ --once`.\n\n"
    "Tell the line's computer about bad parts: `IADR1_SECRET=... iadr1 watch photos/ --webhook "
    "https://mes.local/inspections --webhook-secret-env IADR1_SECRET --send bad`.\n\n"
    "To an MQTT broker: `MQTT_USER=... MQTT_PASSWORD=... iadr1 watch photos/ --mqtt mqtts://broker.local/line3`.\n\n"
    "Exit code: 0 ended by SIGTERM, --once or --max-photos, 1 it cannot go on or, with --once, a photo could not be "
    "looked at or a folder not be read, 2 called wrongly or another watcher writes into --out, 130 ended by Ctrl-C."
)

_CONFIG = configs.WatchConfig
_SENDING = "Sending results"


def _sink_option(field: str, text: str) -> Any:
    found = option(_CONFIG, field, text=text)
    found.rich_help_panel = _SENDING
    return found


@server_options(_CONFIG)
def watch(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder that photos are put into.")],
    out: Annotated[
        Path | None, option(_CONFIG, "out", text="Folder for the results; not watched where it lies in DIR.")
    ] = None,
    masks: Annotated[bool | None, option(_CONFIG, "masks", "--masks/--no-masks")] = None,
    model: Annotated[str | None, option(_CONFIG, "model")] = None,
    engine: Annotated[str | None, option(_CONFIG, "engine")] = None,
    mode: Annotated[str | None, option(_CONFIG, "mode")] = None,
    reasoning: Annotated[str | None, option(_CONFIG, "reasoning")] = None,
    threshold: Annotated[float | None, option(_CONFIG, "threshold")] = None,
    calibration: Annotated[Path | None, option(_CONFIG, "calibration")] = None,
    references: Annotated[Path | None, option(_CONFIG, "references")] = None,
    shots: Annotated[int | None, option(_CONFIG, "shots", text=SHOTS)] = None,
    tiles: Annotated[str | None, option(_CONFIG, "tiles")] = None,
    glob: Annotated[str | None, option(_CONFIG, "glob")] = None,
    segmenter: Annotated[str | None, option(_CONFIG, "segmenter")] = None,
    overlays: Annotated[bool | None, option(_CONFIG, "overlays", "--overlays/--no-overlays")] = None,
    interval: Annotated[float | None, option(_CONFIG, "interval", text="Seconds between two looks into DIR.")] = None,
    settle: Annotated[
        float | None,
        option(_CONFIG, "settle", text="Seconds that a file's size and time have to stay the same before it is read."),
    ] = None,
    attempts: Annotated[
        int | None, option(_CONFIG, "attempts", text="How often a file that cannot be read is tried, with pauses.")
    ] = None,
    keep: Annotated[
        bool | None,
        option(_CONFIG, "keep", "--keep", text="Leave such files where they are instead of DIR/quarantine/."),
    ] = None,
    once: Annotated[bool | None, option(_CONFIG, "once", "--once", text="Look at what is there and stop.")] = None,
    max_photos: Annotated[
        int | None, option(_CONFIG, "max_photos", text="Stop after so many photos; 0 for no limit.")
    ] = None,
    webhook: Annotated[
        str | None, _sink_option("webhook", "Address (http or https) that results are sent to as JSON.")
    ] = None,
    webhook_secret_env: Annotated[
        str | None,
        _sink_option("webhook_secret_env", "Environment variable with the secret that results are signed with."),
    ] = None,
    mqtt: Annotated[
        str | None, _sink_option("mqtt", "Broker and topic, mqtt://HOST[:PORT]/TOPIC, or mqtts:// for TLS.")
    ] = None,
    mqtt_user_env: Annotated[
        str | None, _sink_option("mqtt_user_env", "Environment variable with the user's name at the broker.")
    ] = None,
    mqtt_password_env: Annotated[
        str | None, _sink_option("mqtt_password_env", "Environment variable with the password.")
    ] = None,
    send: Annotated[
        str | None, _sink_option("send", "Which results are sent: `all`, `anomalous`, or `bad` (all but normal).")
    ] = None,
    send_timeout_s: Annotated[
        float | None, _sink_option("send_timeout_s", "Seconds without a byte until a try to send counts as failed.")
    ] = None,
    drain_s: Annotated[
        float | None, _sink_option("drain_s", "Seconds at the end for results that are still to be sent.")
    ] = None,
    batch_size: Annotated[int | None, option(_CONFIG, "batch_size")] = None,
    max_new_tokens: Annotated[int | None, option(_CONFIG, "max_new_tokens")] = None,
    device: Annotated[str | None, option(_CONFIG, "device")] = None,
    dtype: Annotated[str | None, option(_CONFIG, "dtype")] = None,
    attention: Annotated[str | None, option(_CONFIG, "attention")] = None,
    **server: Any,
) -> None:
    """Look at every photo that a camera drops into a folder, each exactly once.

    A photo is the same bytes under the same name: a file that is overwritten is a new photo, a copy under another
    name is another one, and none is looked at twice, whatever ended the last run. Sub-folders are watched too; hidden
    and temporary names (.tmp, .part, ~) and symbolic links are not.

    Results are sent in the background and kept until they have arrived, so a receiver that is down holds up nothing.
    """
    given = locals()
    config = configs.build(_CONFIG, given=given | given.pop("server"))
    from iadr1.stages import watch as stage

    stop = stage.Stop()
    with _until_signal(stop) as signals, _lines() as listener:
        summary = stage.run(config, listener=listener, stop=stop)
    _print_summary(summary)
    if signal.SIGINT in signals:
        raise typer.Exit(130)
    if config.once and (summary.status.errors or summary.unanswered or summary.unread):
        raise typer.Exit(1)


@contextmanager
def _until_signal(stop: Stop) -> Iterator[list[int]]:
    """SIGTERM and the first Ctrl-C ask for the end; a second Ctrl-C interrupts. Yields the signals that came."""
    came: list[int] = []

    def ask(number: int, frame: FrameType | None) -> None:
        came.append(number)
        stop.request()
        signal.signal(signal.SIGINT, before[signal.SIGINT])

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _lines() -> Iterator[Listener]:
    """One line a photo on stdout; below them on stderr, in a terminal, how the watcher stands."""
    from iadr1.stages.watch import Listener

    live = terminal.err.status("getting ready")
    with live:
        yield Listener(
            photo=lambda record: terminal.say(_line(record)),
            note=lambda line: terminal.note(f"{_now()}  {plain(line)}"),
            status=lambda status: live.update(Text(plain(_standing(status)))),
        )


def _line(record: Detection) -> str:
    if record.error is not None:
        return f"{_now()}  {'error':<9}  {plain(record.image)}  {plain(record.error)}"
    score = [] if record.score is None else [f"score {record.score:.2f}"]
    found = ", ".join([*score, *named([defect.label for defect in record.defects])])
    return f"{_now()}  {record.verdict:<9}  {plain(record.image)}  {found}".rstrip()


def _standing(status: Status) -> str:
    parts = [
        terminal.counted(sum(status.counts.values()), "photo"),
        *(f"{count} {verdict}" for verdict, count in status.counts.items()),
    ]
    parts += [terminal.counted(status.errors, "error")] * bool(status.errors) + [f"{status.waiting} waiting"] * bool(
        status.waiting
    )
    for kind, (counts, trouble) in status.sinks.items():
        parts.append(f"{kind} {counts.delivered} sent, {counts.waiting} to send{f' ({trouble})' if trouble else ''}")
    return ", ".join([*parts, *([status.trouble] if status.trouble else [])])


def _now() -> str:
    return datetime.now().astimezone().strftime("%H:%M:%S")


def _print_summary(summary: WatchSummary) -> None:
    status = summary.status
    verdicts = ", ".join(f"{count} {verdict}" for verdict, count in status.counts.items())
    unread = f" ({status.errors} could not be looked at)" if status.errors else ""
    terminal.say(f"{terminal.counted(sum(status.counts.values()), 'photo')}: {verdicts}{unread}")
    if summary.earlier:
        terminal.say(f"{summary.earlier} had a result from an earlier run")
    if summary.unanswered:
        terminal.say(f"{summary.unanswered} got no answer; the next run looks at them again")
    for folder, reason in summary.unread.items():
        terminal.say(f"{plain(folder)}: cannot be read ({reason}), photos in it were not seen")
    for kind, (counts, trouble) in status.sinks.items():
        why = f", last: {plain(trouble)}" if trouble and counts.waiting else ""
        left = f"; {counts.waiting} still to be sent, by the next run{why}" if counts.waiting else ""
        refused = f", {counts.refused} refused (undelivered.jsonl)" if counts.refused else ""
        terminal.say(f"{kind:<7} {counts.delivered} sent in all{refused}{left}")
    for name in ("detections.jsonl", "summary.csv", "masks", "overlays", "run.json"):
        if (summary.out / name).exists():
            terminal.say(f"wrote   {summary.out / name}")
