"""A repository of a Hugging Face hub: what it holds, asked through huggingface_hub; its files are then read by ranges.

HF_ENDPOINT, HF_TOKEN (or the token that `hf auth login` kept) and HF_HUB_OFFLINE mean what they mean to that library.
"""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hub import errors
from hub.transfer import ranges


@dataclass(frozen=True)
class Repository:
    """A repository at one commit. `name` is what it is called now; `digests` are the SHA-256 of what LFS holds, by path."""

    name: str
    commit: str
    files: ranges.RangeSnapshot
    digests: dict[str, str]
    private: bool


def look(name: str, revision: str | None) -> Repository:
    """What a repository holds at a revision (None: its main one). Raises UsageError, AuthError, NotFound, NetworkError."""
    library = _library()
    endpoint, token = _endpoint(), library.get_token()
    with told(name, revision):
        found = library.HfApi(endpoint=endpoint, token=token).model_info(name, revision=revision, files_metadata=True)
    held = [file for file in found.siblings or [] if isinstance(file.size, int)]
    called = str(found.id or name)
    return Repository(
        called,
        str(found.sha),
        ranges.at(endpoint, called, str(found.sha), {file.rfilename: file.size for file in held}, token),
        {file.rfilename: file.lfs.sha256 for file in held if file.lfs is not None},
        bool(found.private),
    )


def fetch(name: str, revision: str | None, *, offline: bool) -> Path:
    """Downloads a base model (weights, configuration, tokenizer) into that library's cache, or finds it there. Raises what
    that library raises (`told` says it in our words)."""
    patterns = ["*.json", "*.safetensors", "*.txt", "*.model"]
    return Path(
        _library().snapshot_download(name, revision=revision, allow_patterns=patterns, local_files_only=offline)
    )


def in_cache(name: str, revision: str | None) -> Path | None:
    """The folder in which Hugging Face's libraries keep this revision on this machine, None where they do not."""
    with contextlib.suppress(Exception):  # whatever that library raises: then it is simply not there
        return Path(_library().snapshot_download(name, revision=revision, local_files_only=True))
    return None


def offline() -> bool:
    """Whether Hugging Face's libraries are told to open no connection."""
    return bool(_library().constants.is_offline_mode())


@contextlib.contextmanager
def told(name: str, revision: str | None) -> Iterator[None]:
    """Say what huggingface_hub raises about a repository in our own words, and how to mend it."""
    library, endpoint = _library().errors, _endpoint()
    where = f"{name}@{revision}" if revision else name
    try:
        yield
    except library.HFValidationError:
        raise errors.UsageError(f"{name} is no name of a repository", hint="write OWNER/NAME") from None
    except library.OfflineModeIsEnabled:
        raise no_connection(where, "HF_HUB_OFFLINE") from None
    except library.GatedRepoError:
        raise _gated(name, endpoint) from None
    except library.RevisionNotFoundError:
        raise errors.NotFound(f"{name} has no revision {revision}", hint=f"see {endpoint}/{name}/commits") from None
    except library.RepositoryNotFoundError:
        raise errors.NotFound(
            f"{endpoint} has no repository {name}, or it is private",
            hint="check the name; for a private one set HF_TOKEN to a token that may read it",
        ) from None
    except library.HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        if status in (401, 403):
            raise _gated(name, endpoint) from None
        raise errors.NetworkError(f"{endpoint} answers {status} about {where}") from error
    except OSError as error:
        raise _unreachable(endpoint, error) from error
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in ("httpx", "httpcore", "httpx2"):
            raise
        raise _unreachable(endpoint, error) from error


def _unreachable(endpoint: str, error: Exception) -> errors.NetworkError:
    return errors.NetworkError(
        f"{endpoint} cannot be reached: {error}",
        hint="HF_ENDPOINT names another; of a folder on this machine no network is needed: hub base add DIR",
    )


def _gated(name: str, endpoint: str) -> errors.AuthError:
    return errors.AuthError(
        f"{name} is gated or private: its files are not for everybody",
        hint=f"ask for access at {endpoint}/{name}, then set HF_TOKEN to a token of yours (or run `hf auth login`)",
    )


def no_connection(where: str, variable: str) -> errors.NetworkError:
    """The error for a repository that is not on this machine while no connection may be opened."""
    return errors.NetworkError(
        f"{where} is not on this machine, and {variable} is set", hint=f"unset {variable}, or name a folder"
    )


def _endpoint() -> str:
    return str(os.environ.get("HF_ENDPOINT") or _library().constants.ENDPOINT).rstrip("/")


def _library() -> Any:
    try:
        import huggingface_hub
        import huggingface_hub.constants
        import huggingface_hub.errors
    except ImportError:
        raise errors.UsageError(
            "asking for a base model by its Hugging Face name needs huggingface_hub",
            hint='pip install "adapter-hub[torch]"',
        ) from None
    return huggingface_hub
