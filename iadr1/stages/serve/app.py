"""The FastAPI application: what is asked and answered over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import re
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, PlainTextResponse
from fastapi.security import HTTPBearer
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

import iadr1
from iadr1.errors import OutputError
from iadr1.records import Detection
from iadr1.stages.inspection.loading import BATCH_PIXELS
from iadr1.stages.serve import interface, pictures
from iadr1.stages.serve.attempts import attempt
from iadr1.stages.serve.desk import Desk, Visit
from iadr1.stages.serve.interface import Health
from iadr1.stages.serve.metrics import Metrics
from iadr1.stages.serve.page import page
from iadr1.stages.serve.refusals import RefusedError, bad_request, not_an_image, problem, too_large
from iadr1.stages.serve.request_log import Entry, RequestLog
from iadr1.stages.serve.uploads import Upload, read_upload

_LOG = logging.getLogger(__name__)
_GIVEN_ID = re.compile(r"[\w.:-]{1,64}", re.ASCII)


@dataclass
class _Told:
    """What is logged of a request: filled in on its way."""

    id: str
    began: float = field(default_factory=time.perf_counter)
    sha256: str | None = None
    name: str = ""
    record: Detection | None = None


class Gate:
    """Lets requests with the token in.

    Args:
        token: What they bring as `Authorization: Bearer`; None lets all in.
    """

    def __init__(self, token: str | None) -> None:
        self._wanted = None if token is None else token.encode()
        self.scheme = [] if token is None else [Depends(HTTPBearer(auto_error=False, description="--token-env"))]

    def check(self, request: Request) -> None:
        """Refuse a request without it.

        Raises:
            RefusedError: 401.
        """
        kind, _, given = request.headers.get("authorization", "").partition(" ")
        if self._wanted is None or (kind.lower() == "bearer" and hmac.compare_digest(given.encode(), self._wanted)):
            return
        hint = "send the header Authorization: Bearer TOKEN with the token that the server was started with"
        raise RefusedError(401, "unauthorised", "no token, or a wrong one", hint)


class Counter:
    """Where requests for a result come in: each is answered or refused, counted and logged.

    Args:
        gate: Asks for the token.
        desk: The queue.
        metrics: Counts.
        log: The request log; None for none.
    """

    def __init__(self, gate: Gate, desk: Desk, metrics: Metrics, log: RequestLog | None) -> None:
        self._gate, self._desk, self._metrics, self._log = gate, desk, metrics, log

    async def answer(self, request: Request) -> Response:
        """The answer to a request, whatever it holds."""
        given = request.headers.get("x-request-id", "")
        told = _Told(given if _GIVEN_ID.fullmatch(given) else uuid.uuid4().hex)
        try:
            self._gate.check(request)
            record = await self._detect(request, told)
            response, outcome = Response(record.model_dump_json(), media_type="application/json"), "answered"
        except RefusedError as refused:
            response, outcome = refused.response(), refused.outcome
        except ClientDisconnect:
            response, outcome = problem(400, "the body is not whole", "send it again"), "gone"
        response.headers["X-Request-ID"] = told.id
        self._count(told, outcome, response.status_code)
        return response

    async def _detect(self, request: Request, told: _Told) -> Detection:
        async with self._desk.visit() as visit:
            limits = self._desk.limits
            upload = await read_upload(request, max_bytes=limits.max_bytes)
            told.name = upload.name
            told.sha256, pixels = await self._look(upload)
            told.record = await self._ask(request, visit, upload, pixels)
        return told.record

    async def _look(self, upload: Upload) -> tuple[str, int]:
        seen = await attempt(asyncio.to_thread(_look, upload, self._desk.limits.max_pixels))
        if not isinstance(seen, BaseException):
            return seen
        upload.close()
        if isinstance(seen, RefusedError):
            raise seen
        # Pillow's readers raise all kinds of errors at damaged files.
        error = f"the header cannot be read: {type(seen).__name__}: {seen}"
        raise not_an_image(error, "write the file anew and send it whole", status=422)

    async def _ask(self, request: Request, visit: Visit, upload: Upload, pixels: int) -> Detection:
        asked = asyncio.ensure_future(self._desk.ask(visit, upload, pixels))
        gone = asyncio.ensure_future(request.receive())  # the body is read: what comes now is the client's going
        try:
            await asyncio.wait((asked, gone), return_when=asyncio.FIRST_COMPLETED)
            if not asked.done():
                raise ClientDisconnect
            return await asked
        finally:
            asked.cancel()
            gone.cancel()

    def _count(self, told: _Told, outcome: str, status: int) -> None:
        seconds = time.perf_counter() - told.began
        self._metrics.requests.labels(outcome).inc()
        self._metrics.seconds.labels(outcome).observe(seconds)
        verdict = told.record.verdict if told.record is not None else None
        if verdict is not None:
            self._metrics.verdicts.labels(verdict).inc()
        if self._log is None:
            return
        entry = Entry(
            id=told.id,
            outcome=outcome,
            status=status,
            ms=round(1000 * seconds, 3),
            sha256=told.sha256,
            name=told.name,
            verdict=verdict,
            score=told.record.score if told.record is not None else None,
        )
        try:
            self._log.write(entry)
        except OutputError as error:  # the answer still goes out
            self._metrics.log_failures.inc()
            _LOG.error("%s", error)


def _look(upload: Upload, max_pixels: int) -> tuple[str, int]:
    """SHA-256 of the photo, of which no reference is a copy, and the pixels of both, by their headers."""
    pixels = pictures.check_header(upload.photo, what="image", max_pixels=max_pixels)
    for reference in upload.references:
        pixels += pictures.check_header(reference, what="reference", max_pixels=max_pixels)
    if upload.references and pixels > max(max_pixels, BATCH_PIXELS):
        told = f"photo and references have {pixels / 1e6:.0f} million pixels together"
        hint = "send fewer or smaller; a larger --max-megapixels of the server raises the limit above 100"
        raise too_large(f"{told}, above the limit of {max(max_pixels, BATCH_PIXELS) / 1e6:g}", hint)
    content = pictures.sha256(upload.photo)
    for number, reference in enumerate(upload.references, start=1):
        if pictures.sha256(reference) == content:
            told = f"reference {number} has the same bytes as the image, and beside itself every photo looks good"
            raise bad_request(told, "send photos of other products, without defects, as references")
    return content, pixels


def create_app(desk: Desk, metrics: Metrics, *, token: str | None = None, log: RequestLog | None = None) -> FastAPI:
    """The application.

    Args:
        desk: The queue, not open yet: the application's lifespan opens it.
        metrics: What `/metrics` shows.
        token: What `/v1/detect` and `/metrics` want as `Authorization: Bearer`; None for nothing.
        log: The request log; None for none.
    """

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with desk.open():
            yield

    app = FastAPI(
        title="iadr1",
        version=iadr1.__version__,
        description="Says of a photo of a product whether it is bad, where and why.",
        docs_url=None,  # FastAPI's own page loads its script from somebody else's server
        redoc_url=None,
        lifespan=lifespan,
    )
    metrics.gauge("queued", "Photos that wait for the model.", lambda: desk.queued)
    metrics.gauge("inside", "Requests that have a place: being read, waiting or looked at.", lambda: desk.inside)
    metrics.gauge("ready", "1 where photos are looked at, else 0.", lambda: desk.state[0] == "ready")
    _errors(app)
    gate = Gate(token)
    _routes(app, gate, Counter(gate, desk, metrics, log))
    _figures(app, gate, desk, metrics)
    return app


def _routes(app: FastAPI, gate: Gate, counter: Counter) -> None:
    @app.post("/v1/detect", dependencies=gate.scheme, **interface.DETECT)
    async def detect(request: Request) -> Response:
        return await counter.answer(request)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return HTMLResponse(page(app.openapi()), headers={"Content-Security-Policy": "default-src 'none'"})


def _figures(app: FastAPI, gate: Gate, desk: Desk, metrics: Metrics) -> None:
    @app.get("/health", **interface.HEALTH)
    async def health(response: Response) -> Health:
        status, reason = desk.state
        response.status_code = 200 if status == "ready" else 503
        return Health(
            status=status,
            ready=status == "ready",
            reason=reason,
            version=iadr1.__version__,
            inside=desk.inside,
            queued=desk.queued,
            places=desk.limits.places,
            **(desk.bench.facts if desk.bench is not None else {}),
        )

    @app.get("/live", **interface.LIVE)
    async def live() -> Response:
        return PlainTextResponse("alive\n" if desk.alive else "dead\n", status_code=200 if desk.alive else 503)

    @app.get("/metrics", dependencies=gate.scheme, **interface.METRICS)
    async def figures(request: Request) -> Response:
        gate.check(request)
        return Response(metrics.text(), media_type=CONTENT_TYPE_LATEST)


def _errors(app: FastAPI) -> None:
    """Every error is `{error, hint}`."""

    @app.exception_handler(RefusedError)
    async def refused(request: Request, error: RefusedError) -> Response:
        return error.response()

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        told = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()[:3])
        return problem(422, told, "GET /openapi.json says what is taken")

    @app.exception_handler(HTTPException)
    async def other(request: Request, error: HTTPException) -> Response:
        told = f"{error.detail}: {request.method} {request.url.path}"
        return problem(error.status_code, told, "GET /docs lists what there is", dict(error.headers or {}))

    @app.exception_handler(Exception)
    async def bug(request: Request, error: Exception) -> Response:
        return problem(
            500, f"{type(error).__name__}: this should not happen", "please report it, with the server's log"
        )
