"""The client of an adapter hub: pull, push, search and run adapters that were judged on their frozen base model.

    import hub
    adapter = hub.pull("sentiment-bert")
    adapter.predict(["a charming and often affecting journey"])

The face is lazy: importing this package loads neither the HTTP library nor torch.
"""

import functools
import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

__distribution__ = "adapter-hub"

_VERBS = (
    "check",
    "find_hash",
    "fingerprint",
    "info",
    "login",
    "logout",
    "pull",
    "push",
    "report",
    "search",
    "status",
    "verify",
    "whoami",
    "yank",
)
_NAMES = {
    "Adapter": "hub.adapter",
    "AuthError": "hub.errors",
    "Client": "hub.client",
    "Conflict": "hub.errors",
    "HubError": "hub.errors",
    "IncompatibleBaseModel": "hub.errors",
    "IntegrityError": "hub.errors",
    "NetworkError": "hub.errors",
    "NotFound": "hub.errors",
    "NotJudged": "hub.errors",
    "Rejected": "hub.errors",
    "Report": "hub.verdicts",
    "StorageError": "hub.errors",
    "UsageError": "hub.errors",
    "Yanked": "hub.errors",
}
__all__ = [
    "Adapter",
    "AuthError",
    "Client",
    "Conflict",
    "HubError",
    "IncompatibleBaseModel",
    "IntegrityError",
    "NetworkError",
    "NotFound",
    "NotJudged",
    "Rejected",
    "Report",
    "StorageError",
    "UsageError",
    "Yanked",
    "check",
    "find_hash",
    "fingerprint",
    "info",
    "login",
    "logout",
    "pull",
    "push",
    "report",
    "search",
    "status",
    "verify",
    "whoami",
    "yank",
]

if TYPE_CHECKING:
    __version__: str
    from hub.adapter import Adapter
    from hub.client import Client
    from hub.errors import (
        AuthError,
        Conflict,
        HubError,
        IncompatibleBaseModel,
        IntegrityError,
        NetworkError,
        NotFound,
        NotJudged,
        Rejected,
        StorageError,
        UsageError,
        Yanked,
    )
    from hub.verdicts import Report

    _default = Client()
    check = _default.check
    find_hash = _default.find_hash
    fingerprint = _default.fingerprint
    info = _default.info
    login = _default.login
    logout = _default.logout
    pull = _default.pull
    push = _default.push
    report = _default.report
    search = _default.search
    status = _default.status
    verify = _default.verify
    whoami = _default.whoami
    yank = _default.yank


def _verb(name: str) -> Callable[..., Any]:
    """A function that runs one verb on a client built from the settings of the moment of the call."""
    import inspect

    from hub.client import Client

    method = getattr(Client, name)

    @functools.wraps(method)
    def call(*arguments: Any, **options: Any) -> Any:
        with Client() as client:
            return getattr(client, name)(*arguments, **options)

    signature = inspect.signature(method)
    call.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=list(signature.parameters.values())[1:]
    )
    return call


def __getattr__(name: str) -> Any:
    if name in _VERBS:
        value: Any = _verb(name)
    elif name == "__version__":
        value = importlib.import_module("hub.config").VERSION
    elif name in _NAMES:
        value = getattr(importlib.import_module(_NAMES[name]), name)
    else:
        raise AttributeError(f"module 'hub' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*__all__, *globals()})
