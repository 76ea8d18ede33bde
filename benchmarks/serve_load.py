"""`iadr1 serve` under load: is every request answered or refused, also when the server is stopped or killed?

    python benchmarks/serve_load.py images/

sends 500 requests, 32 at a time, to a real process three times: left alone, stopped (`kill -TERM`) when half of the
answers are there, and killed (`kill -9`) then. Each request must end as answered, refused with a reason, or with an
error of the connection that the client sees; and what a client was told must stand in the request log. Before that the
same photos go through the plain `Inspector` in this process, in batches of the same size.

Seconds are wall time; CPU seconds are those of the process that does the work, for a machine with other work. The
server's hold no start: they are counted from the moment it is ready.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import httpx
import numpy as np

from iadr1.images import find_images
from iadr1.models import LoadOptions, load_engine
from iadr1.records import read_records
from iadr1.stages.inspection import Inspector, InspectSettings, Photo, load_batches
from iadr1.stages.serve.request_log import Entry

Outcome = tuple[str, str, float]
"""`answered`, `refused 503` or `connection error`; the request's id; seconds."""


class Process:
    """A server on a free port.

    Args:
        folder: Where its request log goes.
        words: Further options.
    """

    def __init__(self, folder: Path, words: Sequence[str]) -> None:
        self.log = folder / "requests.jsonl"
        command = [sys.executable, "-m", "iadr1", "serve", "--port", "0", "--log", str(self.log), *words]
        self.running = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env={**os.environ, "COLUMNS": "200"}
        )
        assert self.running.stdout is not None
        found = re.search(r"http://\S+", self.running.stdout.readline())
        assert found is not None, "it does not listen"
        self.address = found[0]
        assert self.running.stdout.readline().startswith("ready"), "it does not load"
        self.cpu_at_start = self.cpu()

    def cpu(self) -> float:
        """CPU seconds so far."""
        fields = Path(f"/proc/{self.running.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def end(self, sent: signal.Signals | None) -> int:
        """Stop it where no signal was sent yet; its exit code."""
        if sent is None:
            self.running.send_signal(signal.SIGTERM)
        return self.running.wait(120)


async def load(
    process: Process, photos: Sequence[Path], *, together: int, stop: signal.Signals | None
) -> list[Outcome]:
    """Send every photo once, so many at a time; after half of the answers the server gets the signal."""
    waiting = list(enumerate(photos))[::-1]
    outcomes: list[Outcome] = []

    async def one(client: httpx.AsyncClient, number: int, photo: Path) -> Outcome:
        key, started = f"load-{number}", time.perf_counter()
        try:
            files = {"image": (photo.name, photo.read_bytes())}
            answer = await client.post("/v1/detect", files=files, headers={"X-Request-ID": key})
        except httpx.TransportError:
            return "connection error", key, time.perf_counter() - started
        told = "answered" if answer.status_code == 200 else f"refused {answer.status_code}"
        assert answer.status_code == 200 or set(answer.json()) == {"error", "hint"}, answer.text
        return told, key, time.perf_counter() - started

    async def worker(client: httpx.AsyncClient) -> None:
        while waiting:
            outcomes.append(await one(client, *waiting.pop()))
            if stop is not None and len(outcomes) == len(photos) // 2:
                process.running.send_signal(stop)

    async with httpx.AsyncClient(base_url=process.address, timeout=120) as client:
        await asyncio.gather(*(worker(client) for _ in range(together)))
    return outcomes


def plain(photos: Sequence[Path], mode: str, batch_size: int) -> tuple[float, float]:
    """Wall and CPU seconds of the plain inspector for the same photos."""
    engine = load_engine("local", "tiny", LoadOptions(batch_size=batch_size))
    inspector = Inspector(engine, InspectSettings(mode=mode))
    items = [Photo(path, f"{number}", f"{number}") for number, path in enumerate(photos)]
    inspector.inspect(next(load_batches(items[:batch_size], None, batch_size)))  # warm
    wall, cpu = time.perf_counter(), time.process_time()
    for batch in load_batches(items, None, batch_size):
        inspector.inspect(batch)
    return time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    """Run all of it and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path, help="folder of photos, taken again and again")
    parser.add_argument("--requests", type=int, default=500)
    parser.add_argument("--together", type=int, default=32)
    parser.add_argument("--mode", default="direct")
    parser.add_argument("--batch-size", type=int, default=8)
    given = parser.parse_args()
    found = find_images(given.images)
    photos = [found[number % len(found)] for number in range(given.requests)]
    print(f"{given.requests} requests, {given.together} at a time, mode {given.mode}, batches of {given.batch_size}")
    wall, cpu = plain(photos, given.mode, given.batch_size)
    print(f"plain      {len(photos) / wall:.1f} photos/s, {1000 * cpu / len(photos):.1f} ms CPU a photo")
    for name, stop in (("whole", None), ("kill -TERM", signal.SIGTERM), ("kill -9", signal.SIGKILL)):
        with tempfile.TemporaryDirectory() as folder:
            options = ("--mode", given.mode, "--batch-size", str(given.batch_size))
            process = Process(Path(folder), options)
            started = time.perf_counter()
            outcomes = asyncio.run(load(process, photos, together=given.together, stop=stop))
            seconds = time.perf_counter() - started
            if stop is None:
                own = process.cpu() - process.cpu_at_start
                rate = len(photos) / seconds
                print(f"serve      {rate:.1f} photos/s, {1000 * own / len(photos):.1f} ms CPU a photo")
                print(f"ratio      {rate * wall / len(photos):.2f} of plain by wall time, {cpu / own:.2f} by CPU time")
                times = np.percentile([1000 * one[2] for one in outcomes], (50, 95, 99))
                print("latency    p50 {:.0f} ms, p95 {:.0f} ms, p99 {:.0f} ms".format(*times))
            code = process.end(stop)
            told = {entry.id for entry in read_records(process.log, Entry) if entry.outcome == "answered"}
        counts = Counter(outcome for outcome, _, _ in outcomes)
        missing = {key for outcome, key, _ in outcomes if outcome == "answered"} - told
        listed = ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items()))
        print(f"{name:<10} {listed}; together {counts.total()}; exit code {code}; not in the log: {len(missing)}")
        assert counts.total() == len(photos)
        assert not missing


if __name__ == "__main__":
    main()
