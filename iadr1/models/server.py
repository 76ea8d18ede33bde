"""The engine that asks an OpenAI-compatible chat server: vLLM, SGLang, `transformers serve`, or a commercial one.

What the servers take and how they differ is written down in docs/evaluation.md, section "Servers".
"""

from __future__ import annotations

import asyncio
import time
import weakref
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from iadr1.errors import NoProbabilitiesError
from iadr1.models import LoadOptions
from iadr1.models.base import Completion, Request, Unweighed
from iadr1.models.server_faults import (
    BY_TEXT,
    Place,
    RequestFaultError,
    UnknownModelError,
    diagnose,
    no_continuing,
    no_logprobs,
    nobody_answers,
    nothing_answered,
    unknown_model,
)
from iadr1.models.server_loop import BackgroundLoop
from iadr1.models.server_pace import Pace
from iadr1.models.server_replies import Reply, UnusableReplyError, read_reply, word_probabilities
from iadr1.models.server_requests import Dialect, Encoder, chat, check_requests, data_url
from iadr1.models.server_setup import CONNECT_S, check_options, key_headers, open_client, profile_named, read_key

T = TypeVar("T")


class ServerEngine:
    """Asks a server, several requests at a time.

    Images go as PNG data URLs, encoded only when their request is about to be sent, so memory is bounded by
    `ServerOptions.concurrency`. Decoding is greedy; an answer ends behind its closing tag like the local engine's.

    Args:
        model: The model's name as the server knows it.
        options: Where and how to ask; `server` must be given.

    Attributes:
        profile: That of `ServerOptions.family`, to whose size each image is brought before it is sent, so that boxes
            come back in a known space (`profile_named`).
        fingerprint: `server:` and the model's name: a server says no more about its weights.

    Raises:
        ModelChoiceError: No address, or one that cannot be asked or that holds a password; a key that cannot be sent;
            a number out of range; an unknown family, or no model at a folder named for one.
        MissingExtraError: The package `openai` is not installed.
    """

    name = "server"
    _backoff_s = 0.5

    def __init__(self, model: str, options: LoadOptions) -> None:
        self._options = check_options(options.server)
        self.model = model
        self.profile = profile_named(self._options.family)
        self.fingerprint = f"server:{model}"
        key = read_key(self._options.key_env)
        self._place = Place(self._options.base_url, self._options.key_env, key, model)
        self._client = open_client(self._options, key)
        self._headers = key_headers(key)
        self._dialect = Dialect()
        self._pace = Pace(self._options.requests_per_minute, base_s=self._backoff_s)
        self._answered = 0
        self._unreached = 0  # failures to connect since the last answer
        self._lost = 0  # requests given up after all tries
        self._refusals: Counter[str] = Counter()  # until the first answer: refusals by their words
        self._patience = 0  # how many of these are enough to give up, where nothing was ever answered
        self._weighs = False  # it has given probabilities
        self._loop: BackgroundLoop | None = None

    def generate(self, requests: Sequence[Request], *, max_new_tokens: int) -> list[Completion]:
        """Greedy completions, one per request, in order.

        A request that fails for good has `Completion.error`, and the others go on. `seconds` is the time of the try
        that was answered, so it holds neither pauses nor failed tries.

        Raises:
            ModelChoiceError: A plain prompt, or the server does not know the model.
            ModelError: No request can succeed: nobody answers at the address, a wrong key, no image support, or a
                request has a prefix and the server does not continue one.
        """

        async def ask(request: Request, encoder: Encoder) -> Completion:
            try:
                reply, seconds = await self._ask(request, encoder, max_new_tokens=max_new_tokens)
            except RequestFaultError as fault:
                return Completion(request.id, "", error=fault.reason)
            return Completion(
                request.id, reply.text, reply.finished, reply.prompt_tokens, reply.completion_tokens, seconds
            )

        return self._all(requests, ask)

    def probabilities(self, requests: Sequence[Request], words: Sequence[str]) -> list[dict[str, float]]:
        """For each request the probability of each word as the answer's first, normalised over the words.

        Of the server's most probable first tokens (at most 20); a word that is not among them has probability 0.

        Nothing is given for a request that fails for good, where none of the words is among the tokens, and where what
        stands for one is no log-probability: an `Unweighed` says why.

        Raises:
            NoProbabilitiesError: The server gives no log-probabilities, or has not given any yet.
            ModelError: As `generate`.
        """
        lost: list[NoProbabilitiesError] = []

        async def ask(request: Request, encoder: Encoder) -> dict[str, float]:
            try:
                reply, _ = await self._ask(request, encoder, max_new_tokens=1, logprobs=True)
            except RequestFaultError as fault:
                if "logprobs" in fault.reason:
                    raise no_logprobs(self._place) from None
                lost.append(NoProbabilitiesError(f"no probabilities for {request.id!r}: {fault.reason}"))
                return Unweighed(fault.reason)
            if reply.top is None:
                raise no_logprobs(self._place)
            found = word_probabilities(reply.top, words)
            if isinstance(found, Unweighed):
                told = f"no probabilities for {request.id!r}: {found.reason}"
                lost.append(NoProbabilitiesError(told, hint=BY_TEXT))
            return found

        shares = self._all(requests, ask)
        self._weighs = self._weighs or any(shares)
        if lost and not self._weighs:
            raise lost[0]
        return shares

    # all requests

    def _all(self, requests: Sequence[Request], ask: Callable[[Request, Encoder], Coroutine[Any, Any, T]]) -> list[T]:
        check_requests(requests)
        most = min(self._options.concurrency, len(requests))
        self._patience = 3 * most
        encoder = Encoder(lambda image: data_url(self.profile.prepare(image)), keep=2 * most)
        results: dict[int, T] = {}
        waiting = iter(enumerate(requests))

        async def work() -> None:
            for place, request in waiting:
                results[place] = await ask(request, encoder)

        async def run() -> None:
            try:
                async with asyncio.TaskGroup() as group:
                    for _ in range(most):
                        group.create_task(work())
            except BaseExceptionGroup as failed:
                raise failed.exceptions[0] from None

        self._background().run(run())
        return [results[place] for place in range(len(requests))]

    def _background(self) -> BackgroundLoop:
        if self._loop is None:
            self._loop = BackgroundLoop(self._client.close)
            weakref.finalize(self, self._loop.end)
        return self._loop

    # one request

    async def _ask(
        self, request: Request, encoder: Encoder, *, max_new_tokens: int, logprobs: bool = False
    ) -> tuple[Reply, float]:
        """The reply and the seconds it took, after as many tries as it needs and may have."""
        messages = chat(request, await encoder.urls(request.images))
        tries, answered = 0, self._answered
        while True:
            sent = self._dialect.settings(max_new_tokens, prefix=bool(request.prefix), logprobs=logprobs)
            began = await self._pace.turn()
            try:
                reply = await self._send(messages, sent, images=len(request.images))
            except RequestFaultError as fault:
                self._count(fault)
                if fault.kind == "refused" and self._dialect.learn(fault.reason, sent):
                    continue
                # As long as the server answers others in between, "too many requests" only means to wait.
                if fault.kind != "limited" or self._answered == answered:
                    tries += 1
                answered = self._answered
                await self._wait(fault, tries, began)
                continue
            self._answered, self._unreached = self._answered + 1, 0
            self._pace.answered()
            if request.prefix and not reply.tells_stop:
                raise no_continuing(self._place)
            if self._dialect.heed(reply, sent):
                return reply, time.monotonic() - began

    def _count(self, fault: RequestFaultError) -> None:
        """Count failures to connect; where the first ones all fail, so would the rest, one by one."""
        self._unreached = self._unreached + 1 if fault.kind == "unreached" else 0
        if self._unreached >= self._patience and not self._answered:
            raise nobody_answers(self._place, fault)

    async def _wait(self, fault: RequestFaultError, tries: int, began: float) -> None:
        """Wait for the next try.

        Raises:
            RequestFaultError: There is none left.
            ModelError: So many requests got none that the rest would not either.
        """
        if fault.kind == "refused":
            if not self._answered:
                self._refusals[fault.reason] += 1
                if (count := self._refusals[fault.reason]) >= self._patience:
                    raise nothing_answered(self._place, count, fault)
            raise fault
        if tries > self._options.retries:
            if self._unreached > self._options.retries:
                raise nobody_answers(self._place, fault)
            fault.reason += f" ({tries} tries)"
            self._lost += 1
            if self._lost >= self._patience and not self._answered:
                raise nothing_answered(self._place, self._lost, fault)
            raise fault
        pause = fault.wait if fault.wait is not None else self._pace.backoff(max(tries, 1))
        if fault.kind == "limited":
            self._pace.refused(began, pause)
        else:
            await asyncio.sleep(pause)

    async def _send(self, messages: Any, sent: dict[str, Any], *, images: int) -> Reply:
        import openai

        try:
            async with asyncio.timeout(self._options.timeout_s):
                response = await self._client.chat.completions.with_raw_response.create(
                    model=self.model, messages=messages, extra_body=sent, extra_headers=self._headers
                )
            return read_reply(response.text)
        except TimeoutError:
            raise RequestFaultError("passing", f"no answer within {self._options.timeout_s:g} seconds") from None
        except UnusableReplyError as error:
            raise RequestFaultError("passing", self._place.clean(str(error))) from None
        except openai.APIError as error:
            try:
                fault = diagnose(error, self._place, sent=sent, images=images)
            except UnknownModelError as unknown:
                raise unknown_model(self._place, str(unknown), await self._models()) from None
            raise fault from None

    def served(self) -> list[str] | None:
        """The names of the server's models; None where it does not say."""
        found: list[list[str] | None] = []

        async def ask() -> None:
            found.append(await self._models())

        self._background().run(ask())
        return found[0]

    async def _models(self) -> list[str] | None:
        """The names of the server's models; None where it does not say."""
        import openai

        try:
            async with asyncio.timeout(CONNECT_S):
                page = await self._client.models.list(extra_headers=self._headers)
            return sorted(str(model.id) for model in page.data)
        # Whatever stands at this address.
        except (openai.OpenAIError, TimeoutError, AttributeError, TypeError, ValueError, RecursionError):
            return None


def load(model: str, options: LoadOptions) -> ServerEngine:
    """The engine for `load_engine`; device, dtype, attention and batch size are the server's own."""
    return ServerEngine(model, options)
