"""One endpoint, one token, one pool of connections."""

import contextlib
import json as jsonlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlsplit

import httpx2

from hub import config, errors
from hub.transfer.retry import NOT_PROCESSED, RETRIED, Retry

API = "/api/v1/"
MAX_HOPS = 5
MAX_ANSWER = 64 << 20
IDEMPOTENT = frozenset({"GET", "HEAD", "PUT", "DELETE"})
INHERIT: Final = "the token of the wire"  # a sentinel: None means "send no token"


@dataclass(frozen=True)
class Answer:
    """What came back: the status, the headers, and the body read as JSON (None when it was empty)."""

    status: int
    headers: Mapping[str, str]
    data: Any


class Wire:
    """Speaks to one hub. Every failure is a HubError; a HUB_OFFLINE wire opens no connection. Safe for threads."""

    def __init__(
        self,
        endpoint: str,
        token: str | None = None,
        *,
        offline: bool = False,
        retry: Retry | None = None,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        self.endpoint = config.check_endpoint(endpoint)
        self.offline = offline
        self.retry = retry or Retry()
        self._token = token
        self._transport = transport
        self._client: httpx2.Client | None = None
        self._reached = False

    def __repr__(self) -> str:
        return f"Wire({self.endpoint!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def has_token(self) -> bool:
        return self._token is not None

    def close(self) -> None:
        """Closes the connections; the next call opens new ones."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def address(self, path: str) -> str:
        """The full URL: `adapters/a/b` is below the API, `/readyz` below the endpoint, `https://...` stays."""
        if path.startswith(("http://", "https://")):
            return path
        if "://" in path or path.startswith("//"):
            raise errors.NetworkError(f"the hub gave an address that is not http: {path!r}")
        return self.endpoint + (path if path.startswith("/") else API + path)

    def is_home(self, url: str) -> bool:
        """True when a URL belongs to the endpoint itself: the only place that may see the token."""
        return _origin(url) == _origin(self.endpoint)

    @contextlib.contextmanager
    def hasty(self) -> "Iterator[Wire]":
        """A wire for questions that may as well stay unanswered: this one, or, where the hub has not answered yet, one of its
        own that tries once."""
        if self._reached:
            yield self
            return
        once = Retry(attempts=1, first_contact=1)
        with Wire(self.endpoint, self._token, offline=self.offline, retry=once, transport=self._transport) as wire:
            yield wire

    # -- JSON ---------------------------------------------------------------------------------------------------

    def request(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        build: Callable[[], Mapping[str, Any]] | None = None,
        token: str | None = INHERIT,
        idempotent: bool | None = None,
        timeout: float | None = None,
    ) -> Answer:
        """One call of the API, tried again where that is safe.

        `build` makes fresh body arguments (`content`, `files`) for every attempt. A POST is repeated only when the hub
        cannot have seen it, says that it did nothing (429, 503), or `idempotent` is given. Raises HubError.
        """
        safe = (method in IDEMPOTENT or "Idempotency-Key" in (headers or {})) if idempotent is None else idempotent
        attempt = 0
        while True:
            try:
                body = dict(build()) if build else ({} if json is None else {"json": json})
                with self._send(method, self.address(path), params, headers or {}, token, timeout, body) as response:
                    answer = read(response)
            except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout) as error:
                self._give_up_or_wait(attempt, True, self._unreachable(error))
            except httpx2.TransportError as error:
                self._give_up_or_wait(attempt, safe, self._unreachable(error))
            else:
                if answer.status < 400:
                    return answer
                again = answer.status in (RETRIED if safe else NOT_PROCESSED)
                error_ = errors.from_answer(answer.status, answer.data, asked=f"{method} {path}")
                self._give_up_or_wait(attempt, again, error_, answer.headers)
            attempt += 1

    def _give_up_or_wait(
        self, attempt: int, again: bool, error: errors.HubError, headers: Mapping[str, str] | None = None
    ) -> None:
        limit = self.retry.attempts if self._reached else self.retry.first_contact
        if not again or attempt + 1 >= limit:
            raise error
        self.retry.wait(attempt, headers)

    def _unreachable(self, error: Exception) -> errors.NetworkError:
        known = f"{self.endpoint} did not answer: {_reason(error)}"
        return errors.NetworkError(known, hint="is the hub running? HUB_ENDPOINT names the hub that is asked")

    # -- bytes --------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def open(
        self, url: str, *, headers: Mapping[str, str] | None = None, token: str | None = INHERIT
    ) -> Iterator[httpx2.Response]:
        """One GET whose body is streamed, whatever its status. No second attempt: the caller knows where it stands."""
        wanted = {"Accept-Encoding": "identity", **(headers or {})}
        try:
            with self._send("GET", self.address(url), None, wanted, token, None, {}) as response:
                yield response
        except httpx2.TransportError as error:
            raise errors.NetworkError(f"{_origin(self.address(url))} broke off: {_reason(error)}") from error

    def put(self, url: str, content: Iterable[bytes], size: int, *, token: str | None = INHERIT) -> Answer:
        """One PUT of `size` streamed bytes, whatever its status. No second attempt."""
        body = {"content": content if size else b""}
        headers = {"Content-Length": str(size), "Content-Type": "application/octet-stream"}
        if not self.is_home(self.address(url)):
            del headers["Content-Type"]  # it is not among the headers that a presigned URL has signed
        try:
            with self._send("PUT", self.address(url), None, headers, token, None, body) as response:
                return read(response, strict=False)
        except httpx2.TransportError as error:
            raise errors.NetworkError(f"{_origin(self.address(url))} broke off: {_reason(error)}") from error

    # -- one exchange -------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _send(
        self,
        method: str,
        url: str,
        params: Mapping[str, Any] | None,
        headers: Mapping[str, str],
        token: str | None,
        timeout: float | None,
        body: Mapping[str, Any],
    ) -> Iterator[httpx2.Response]:
        client = self._connected()
        token = self._token if token is INHERIT else token
        for hop in range(MAX_HOPS + 1):
            self._refuse_downgrade(url)
            token = token if self.is_home(url) else None  # once away from home it stays away
            sent = {**headers, "Authorization": f"Bearer {token}"} if token else dict(headers)
            limits = httpx2.Timeout(timeout or 60.0, connect=10.0)
            try:
                request = client.build_request(
                    method, url, params=params if hop == 0 else None, headers=sent, timeout=limits, **body
                )
            except httpx2.InvalidURL as error:
                raise errors.NetworkError(f"the hub gave an address that is none: {error}") from None
            with _closing(client.send(request, stream=True, follow_redirects=False)) as response:
                self._reached = True
                if response.status_code not in {301, 302, 303, 307, 308}:
                    yield response
                    return
                url = self._next(method, response)
        raise errors.NetworkError(f"more than {MAX_HOPS} redirects, the last one to {_origin(url)}")

    def _next(self, method: str, response: httpx2.Response) -> str:
        if method not in {"GET", "HEAD"}:
            raise errors.NetworkError(
                f"{_origin(str(response.url))} redirects a {method} to {_origin(response.headers.get('location', ''))}",
                hint="set HUB_ENDPOINT to the address it redirects to",
            )
        try:
            target = str(response.url.join(response.headers["location"]))
        except (KeyError, httpx2.InvalidURL):
            raise errors.NetworkError("a redirect without a usable address") from None
        if response.url.scheme == "https" and not target.startswith("https://"):
            raise errors.NetworkError(
                f"{_origin(str(response.url))} redirects from https to {_origin(target)}: refused",
                hint="the hub's storage must be served by https too",
            )
        return target

    def _refuse_downgrade(self, url: str) -> None:
        if not url.startswith(("http://", "https://")):
            raise errors.NetworkError(f"{_origin(url)!r} is not an http address")
        if self.endpoint.startswith("https://") and not url.startswith("https://"):
            raise errors.NetworkError(
                f"{self.endpoint} is https and sends us to {_origin(url)} without encryption: refused",
                hint="the hub's storage and HUB_PUBLIC_URL must be https too",
            )

    def _connected(self) -> httpx2.Client:
        if self.offline:
            raise errors.NetworkError(
                "HUB_OFFLINE is set: no connection is opened",
                hint="pull by digest what is in the cache (name@sha256:...), or unset HUB_OFFLINE",
            )
        if self._client is None:
            direct = {"all://127.0.0.1": None, "all://localhost": None, "all://[::1]": None}  # never by a proxy
            self._client = httpx2.Client(
                transport=self._transport,
                mounts=direct,
                headers={"User-Agent": f"adapter-hub/{config.VERSION}", "Accept": "application/json, */*;q=0.5"},
                limits=httpx2.Limits(max_connections=16, max_keepalive_connections=8),
            )
        return self._client


@contextlib.contextmanager
def _closing(response: httpx2.Response) -> Iterator[httpx2.Response]:
    try:
        yield response
    finally:
        response.close()


def read(response: httpx2.Response, *, strict: bool = True) -> Answer:
    """The whole answer with its body as JSON; `strict` raises NetworkError for a good answer that is no JSON."""
    body = bytearray()
    for chunk in response.iter_bytes():
        body += chunk
        if len(body) > MAX_ANSWER:
            raise errors.NetworkError(f"an answer larger than {MAX_ANSWER >> 20} MiB from {response.url.host}")
    status, data = response.status_code, None
    try:
        data = jsonlib.loads(body) if body else None
    except (ValueError, RecursionError):
        if strict and status < 400:
            raise errors.NetworkError(
                f"{response.url.host} answered {status} without JSON: this is no hub", hint="check HUB_ENDPOINT"
            ) from None
    return Answer(status, response.headers, data)


def _origin(url: str) -> str:
    """scheme://host:port, the part of a URL that may be shown: paths and queries may hold signatures."""
    try:
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return "an unreadable address"
    return f"{parts.scheme}://{(parts.hostname or '').lower()}:{port}"


def _reason(error: Exception) -> str:
    return errors.redact(str(error) or type(error).__name__)
