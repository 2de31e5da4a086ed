"""What the user asked for: settings from the environment, tokens and remembered base models from a private folder.

Environment: HUB_ENDPOINT, HUB_TOKEN, HUB_CACHE, HUB_OFFLINE, HUB_BASES (folders, separated as PATH is). Files, in
HUB_CONFIG or `~/.config/adapter-hub` (XDG_CONFIG_HOME is honoured): token.json (mode 0600; one token per endpoint, so that a token
never travels to another hub) and bases.json (fingerprint -> folder).
"""

import json
import os
import re
import stat
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from hub import errors

VERSION = "0.1.0"
DEFAULT_ENDPOINT = "http://127.0.0.1:8000"
BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_TOKEN = re.compile(r"ahub_([0-9A-Za-z]{30})([0-9A-Za-z]{6})")


@dataclass(frozen=True)
class Settings:
    """One reading of the environment. `token` is the one for `endpoint`, or None."""

    endpoint: str
    token: str | None = field(repr=False)
    cache: Path
    folder: Path
    offline: bool
    bases: tuple[Path, ...]


def read(
    *, endpoint: str | None = None, token: str | None = None, environ: Mapping[str, str] | None = None
) -> Settings:
    """Settings now. An argument wins over the environment, the environment over the files. Raises UsageError."""
    environ = os.environ if environ is None else environ
    address = check_endpoint(endpoint or environ.get("HUB_ENDPOINT") or DEFAULT_ENDPOINT)
    folder = _place(environ.get("HUB_CONFIG"), environ, "XDG_CONFIG_HOME", ".config")
    return Settings(
        endpoint=address,
        token=_clean(token) or _clean(environ.get("HUB_TOKEN")) or _stored_token(folder, address),
        cache=_place(environ.get("HUB_CACHE"), environ, "XDG_CACHE_HOME", ".cache"),
        folder=folder,
        offline=environ.get("HUB_OFFLINE", "").strip().lower() in {"1", "true", "yes", "on"},
        bases=tuple(Path(p).expanduser() for p in environ.get("HUB_BASES", "").split(os.pathsep) if p),
    )


def check_endpoint(text: str) -> str:
    """The endpoint in its one spelling: scheme, lower-case host, no trailing slash. Raises UsageError."""
    address = text.strip().rstrip("/")
    hint = f"HUB_ENDPOINT looks like {DEFAULT_ENDPOINT} or https://hub.example.org"
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError as error:
        raise errors.UsageError(f"{address!r} is not an address: {error}", hint=hint) from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise errors.UsageError(f"{address!r} is not the address of a hub", hint=hint)
    if parts.username or parts.password:
        raise errors.UsageError("an endpoint holds no user name or password", hint="use `hub login` or HUB_TOKEN")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}{f':{port}' if port else ''}{parts.path}"


def check_token(token: str) -> str:
    """The same token if its checksum is right; a typing error is told here and not by the hub. Raises AuthError.

    A token is `ahub_`, 30 base62 characters, and the CRC-32 of these 30 as 6 base62 digits.
    """
    match = _TOKEN.fullmatch(token.strip())
    hint = "copy the whole token again: it starts with ahub_ and is 41 characters long"
    if match is None:
        raise errors.AuthError("this is not a token of a hub", hint=hint)
    if checksum(match[1]) != match[2]:
        raise errors.AuthError("the token's checksum is wrong: a character was lost or changed", hint=hint)
    return token.strip()


def checksum(secret: str) -> str:
    """CRC-32 of the 30 characters as 6 base62 digits, the highest first."""
    number, digits = zlib.crc32(secret.encode("ascii")), ""
    for _ in range(6):
        number, digit = divmod(number, 62)
        digits = BASE62[digit] + digits
    return digits


def store_token(settings: Settings, token: str) -> Path:
    """Keeps the token for this endpoint, readable by its owner only."""
    tokens = {**_load(settings.folder / "token.json"), settings.endpoint: token}
    return _store(settings.folder / "token.json", tokens)


def forget_token(settings: Settings) -> bool:
    """Forgets the token of this endpoint; False when there was none."""
    tokens = _load(settings.folder / "token.json")
    if tokens.pop(settings.endpoint, None) is None:
        return False
    _store(settings.folder / "token.json", tokens)
    return True


def remembered_bases(settings: Settings) -> dict[str, dict[str, Any]]:
    """fingerprint -> {"folder", "name"}, as `hub base add` left them."""
    entries = _load(settings.folder / "bases.json")
    return {key: value for key, value in entries.items() if isinstance(value, dict) and "folder" in value}


def remember_base(settings: Settings, fingerprint: str, folder: Path, name: str | None) -> None:
    """Remembers where a base model lies, for `Adapter.load()`."""
    bases = {**remembered_bases(settings), fingerprint: {"folder": str(folder), "name": name}}
    _store(settings.folder / "bases.json", bases)


def _place(chosen: str | None, environ: Mapping[str, str], variable: str, default: str) -> Path:
    """The folder that our own variable names, else ours below the user's."""
    if chosen:
        return Path(chosen).expanduser().absolute()
    root = environ.get(variable, "")
    return (Path(root) if os.path.isabs(root) else Path.home() / default) / "adapter-hub"


def _clean(token: str | None) -> str | None:
    token = (token or "").strip()
    if any(not 33 <= ord(character) <= 126 for character in token):
        raise errors.AuthError("the token holds characters that no token has", hint="copy it again, on one line")
    return token or None


def _stored_token(folder: Path, endpoint: str) -> str | None:
    path = folder / "token.json"
    token = _load(path).get(endpoint)
    if isinstance(token, str) and os.name == "posix" and stat.S_IMODE(path.stat().st_mode) & 0o077:
        path.chmod(0o600)  # a restored backup or a careless copy: nobody else may read it from now on
    return token if isinstance(token, str) else None


def _load(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise errors.UsageError(f"{path} cannot be read: {error}", hint="mend or delete this file") from None
    return value if isinstance(value, dict) else {}


def _store(path: Path, value: dict[str, Any]) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as stream:
            json.dump(value, stream, indent=1, sort_keys=True)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise errors.StorageError(f"{path} cannot be written: {error.strerror}") from error
    return path
