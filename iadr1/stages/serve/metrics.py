"""What `/metrics` shows, in Prometheus' text format."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """Counters and gauges of one server, in a registry of their own.

    Attributes:
        requests: Requests for a result by outcome: `answered`, or what they were refused with.
        verdicts: Answers by verdict.
        seconds: From a request's arrival to its answer, by outcome.
        batch: How many photos the model got at once.
        log_failures: Lines that could not be written to the request log.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "iadr1_requests", "Requests for a result, by outcome.", ["outcome"], registry=self.registry
        )
        self.verdicts = Counter("iadr1_verdicts", "Answers, by verdict.", ["verdict"], registry=self.registry)
        self.seconds = Histogram(
            "iadr1_request_seconds",
            "From a request's arrival to its answer, by outcome.",
            ["outcome"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.batch = Histogram(
            "iadr1_batch_photos",
            "Photos that the model got at once.",
            buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=self.registry,
        )
        self.log_failures = Counter(
            "iadr1_log_failures", "Lines that could not be written to the request log.", registry=self.registry
        )
        for verdict in ("anomalous", "normal", "undecided"):
            self.verdicts.labels(verdict)

    def gauge(self, name: str, text: str, value: Callable[[], float]) -> None:
        """Add a gauge whose value is asked for when the metrics are read."""
        Gauge(f"iadr1_{name}", text, registry=self.registry).set_function(value)

    def text(self) -> bytes:
        """All of it."""
        return generate_latest(self.registry)
