"""What a request is refused with: a status, a sentence that says what is wrong, and the next step."""

from __future__ import annotations

from pydantic import BaseModel, Field
from starlette.responses import JSONResponse

from iadr1.errors import Iadr1Error


class Problem(BaseModel):
    """The body of every answer that is no result."""

    error: str = Field(description="What is wrong, with the value.")
    hint: str = Field(description="What to do next.")


class RefusedError(Exception):
    """A request that gets no result.

    Args:
        status: HTTP status.
        outcome: One word for metrics and log.
        error: What is wrong.
        hint: What to do next.
        retry_s: Seconds after which another try may succeed, told as `Retry-After`.
    """

    def __init__(self, status: int, outcome: str, error: str, hint: str, *, retry_s: int | None = None) -> None:
        super().__init__(error)
        self.status, self.outcome, self.error, self.hint, self.retry_s = status, outcome, error, hint, retry_s

    def response(self) -> JSONResponse:
        """The HTTP answer."""
        headers = {} if self.retry_s is None else {"Retry-After": str(self.retry_s)}
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return problem(self.status, self.error, self.hint, headers)


def problem(status: int, error: str, hint: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """An answer `{error, hint}`."""
    return JSONResponse(Problem(error=error, hint=hint).model_dump(), status_code=status, headers=headers)


def bad_request(error: str, hint: str, *, status: int = 422) -> RefusedError:
    """A request that is not what the interface takes."""
    return RefusedError(status, "bad_request", error, hint)


def too_large(error: str, hint: str) -> RefusedError:
    """An upload above a limit, in bytes or in pixels."""
    return RefusedError(413, "too_large", error, hint)


def not_an_image(error: str, hint: str, *, status: int = 415) -> RefusedError:
    """An upload that cannot be looked at: 415 where it is something else, 422 where it is damaged."""
    return RefusedError(status, "not_an_image", error, hint)


def queue_full(places: int) -> RefusedError:
    """More requests than there is room for."""
    return RefusedError(
        429, "queue_full", f"all {places} places are taken", "send it again after Retry-After seconds", retry_s=1
    )


def stopping() -> RefusedError:
    """The server is about to end."""
    return RefusedError(503, "stopping", "the server is stopping", "send it to another one, or again later", retry_s=5)


def unavailable(outcome: str, error: str) -> RefusedError:
    """The server cannot look at photos now."""
    return RefusedError(503, outcome, error, "ask GET /health until it answers 200, then send it again", retry_s=5)


def engine_failed(error: BaseException | str) -> RefusedError:
    """The model, or what serves it, gave no result for a photo."""
    hint = "send it again; where GET /health says so too, look at the server's own log"
    if isinstance(error, str):
        return RefusedError(502, "engine_failed", error, hint)
    if isinstance(error, Iadr1Error):
        return RefusedError(502, "engine_failed", error.message, error.hint or hint)
    told = f"the model could not look at it: {type(error).__name__}: {error}"
    return RefusedError(502, "engine_failed", told, hint)
