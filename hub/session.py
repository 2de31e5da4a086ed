"""A session: one hub, one token, one cache; the calls that every verb is made of, and the account."""

import getpass
import logging
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from hub import config, errors, retrieval
from hub.cache import Cache
from hub.transfer.download import Remote
from hub.transfer.wire import INHERIT, Wire

logger = logging.getLogger("hub")


class Session:
    """Speaks to one hub; its `Client` adds the verbs. The settings are those of the moment it is made."""

    def __init__(self, endpoint: str | None = None, token: str | None = None, *, quiet: bool = False) -> None:
        self.settings = config.read(endpoint=endpoint, token=token)
        self.quiet = quiet
        self.wire = Wire(self.settings.endpoint, self.settings.token, offline=self.settings.offline)
        self.cache = Cache(self.settings.cache)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.settings.endpoint!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections; the next call opens new ones."""
        self.wire.close()

    # -- for workers and for what has no verb -------------------------------------------------------------------

    def request(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        token: str | None = INHERIT,
        idempotent: bool | None = None,
        timeout: float | None = None,
    ) -> Any:
        """One call of the API (`path` without /api/v1/), tried again where safe. Returns the JSON, None for 204.

        `token` overrides the client's own. Errors carry `.status`, `.code` and `.data` of the hub's problem document.
        """
        return self.wire.request(
            method, path, json=json, params=params, headers=headers, token=token, idempotent=idempotent, timeout=timeout
        ).data

    def download(self, files: Iterable[Mapping[str, Any]], folder: Path | str, *, token: str | None = INHERIT) -> Path:
        """Fetches files [{path, sha256, size, url}] into a folder, each verified before it gets its name.

        What is there already with the right bytes is kept. `token` is sent to the hub itself only.
        """
        root = Path(folder)
        retrieval.deliver(self.wire, map(Remote.of, files), root, token=token)
        return root

    # -- account ------------------------------------------------------------------------------------------------

    def login(self, token: str | None = None) -> dict[str, Any]:
        """Checks a token (asked for when none is given), keeps it for this hub, and says who it belongs to."""
        token = config.check_token(token if token is not None else _ask_for_token(self.settings.endpoint))
        me = self.request("GET", "me", token=token)
        path = config.store_token(self.settings, token)
        logger.info("the token is kept in %s", path)
        return dict(me)

    def logout(self) -> bool:
        """Forgets the kept token of this hub; False when there was none. It stays valid: revoke it on the website."""
        return config.forget_token(self.settings)

    def whoami(self) -> dict[str, Any]:
        """{user, namespaces, scope, expires_at} of the token. Raises AuthError."""
        if not self.wire.has_token and not self.settings.offline:
            raise errors.AuthError("you are not logged in", hint="run `hub login`, or set HUB_TOKEN")
        return dict(self.request("GET", "me"))


def _ask_for_token(endpoint: str) -> str:
    if sys.stdin is not None and not sys.stdin.isatty():
        return sys.stdin.readline().strip()
    return getpass.getpass(f"Token for {endpoint} (it is not shown): ", stream=sys.stderr).strip()
