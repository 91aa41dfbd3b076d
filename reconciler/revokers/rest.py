"""The one HTTP client that writes: what takes access away over HTTP goes through it, one attempt a call.

Reading and writing share the translation of answers (`inventory.http`) and nothing else: other credentials, another
pool, and no repeats. A write whose reply is lost may have happened, so it is `ReplyLost` and only reading again tells.
"""

from collections.abc import Mapping
from typing import Any, Literal

import httpx

from inventory.errors import ProviderError, Throttled, Unavailable
from inventory.http import Answer, HttpSettings, answer_of, bearer, network_transport, open_client, read_body
from inventory.provider import Clock

WritingMethod = Literal["PATCH", "POST", "PUT", "DELETE"]


class ReplyLost(Unavailable):
    """A write was sent and its end is not known: no reply, a cut one, or a failure half-way."""

    outcome_unknown = True


class RestClient:
    """Writes to one HTTP API, each call exactly once."""

    def __init__(self, settings: HttpSettings, clock: Clock, transport: httpx.BaseTransport | None = None) -> None:
        self._settings = settings
        self._clock = clock
        self._client = open_client(settings, transport or network_transport(settings))
        self.calls = 0
        """Requests sent so far."""

    def get(self, path: str) -> Answer:
        """Read one object with the revoker's credentials; raises `inventory.errors.ProviderError`."""
        what = f"GET {path}"
        try:
            response, body = self._exchange(self._request("GET", path), what)
        except httpx.RequestError as error:
            raise Unavailable(f"{what} at {self._settings.host}: no answer ({type(error).__name__})") from error
        return answer_of(response, body, what, self._clock.now())

    def write(
        self, method: WritingMethod, path: str, *, document: Mapping[str, Any] | None = None, if_match: str = ""
    ) -> Answer:
        """Send one write. With `if_match` the provider refuses it when the object has another version by now.

        Raises `ObjectChanged` for such a refusal, `ReplyLost` when it may have happened, and the rest of
        `inventory.errors` when it certainly did not.
        """
        what = f"{method} {path}"
        request = self._request(method, path, document=document, if_match=if_match)
        try:
            response, body = self._exchange(request, what)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise Unavailable(
                f"{what} at {self._settings.host}: not sent ({type(error).__name__})",
                advice="check that the provider is up and reachable from here",
            ) from error
        except httpx.RequestError as error:
            raise _lost(what, type(error).__name__) from error
        except Unavailable as error:
            raise _lost(what, str(error)) from error
        return self._settled(response, body, what)

    def _settled(self, response: httpx.Response, body: bytes, what: str) -> Answer:
        try:
            return answer_of(response, body, what, self._clock.now())
        except Throttled:
            raise
        except Unavailable as error:
            raise _lost(what, str(error)) from error

    def _request(
        self, method: str, path: str, *, document: Mapping[str, Any] | None = None, if_match: str = ""
    ) -> httpx.Request:
        headers = {"Authorization": bearer(self._settings.token_file)}
        if if_match:
            headers["If-Match"] = if_match
        if document is None:
            return self._client.build_request(method, path, headers=headers)
        headers["Content-Type"] = "application/scim+json"
        return self._client.build_request(method, path, headers=headers, json=dict(document))

    def _exchange(self, request: httpx.Request, what: str) -> tuple[httpx.Response, bytes]:
        self.calls += 1
        until = self._clock.monotonic_seconds() + self._settings.deadline_seconds
        response = self._client.send(request, stream=True)
        try:
            return response, read_body(response, what, self._settings, self._clock, until)
        finally:
            response.close()

    def close(self) -> None:
        """Release connections."""
        self._client.close()


def _lost(what: str, why: str) -> ProviderError:
    return ReplyLost(
        f"{what} was sent and its end is unknown ({why})", advice="reading again tells whether it happened"
    )
