"""What a hub must know before it can judge: base models, benchmarks, policies."""

import contextlib
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hub import base_folder, bases, config, errors
from hub.spec import benchmark, documents, policy
from hub.spec.errors import SpecError
from hub.transfer.wire import Wire
from hub.verdicts import segment_path


def add_base(wire: Wire, settings: config.Settings, source: Path | str, *, name: str | None = None) -> dict[str, Any]:
    """Reads a base model, remembers where it lies, and registers it with the hub where a token allows that.

    `source` is a folder or a Hugging Face id. Returns {fingerprint, folder, name, registered, ...}.
    """
    path, location = _folder_of(source, settings)
    base = base_folder.describe(path, cache=settings.cache / "bases")
    config.remember_base(settings, base.fingerprint, path.absolute(), name)
    answer: dict[str, Any] = {
        "fingerprint": base.fingerprint,
        "folder": str(path.absolute()),
        "name": name,
        "parameters": base.parameters,
        "roots": base.roots,
        "registered": False,
    }
    if settings.offline or not wire.has_token:
        return answer
    body: dict[str, Any] = {
        "leaves": [leaf.to_json() for leaf in base.leaves],
        "config": base.config,
        "tokenizer_digest": base.tokenizer_digest,
    }
    described = base.to_json()
    body |= {key: described[key] for key in ("cast_roots", "logical") if described[key]}
    body |= {"name": name} if name else {}
    if location is not None and wire.request("GET", "me").data.get("scope") == "admin":
        body |= {"locations": [location]}  # where the library's names lie is for operators to say
    told = wire.request("POST", "base-models", json=body, idempotent=True).data
    if told.get("fingerprint") != base.fingerprint:
        raise errors.IntegrityError("the hub computed another fingerprint from the same tensors", hint="tell its owner")
    return {**answer, **{key: told[key] for key in ("name", "state", "aliases") if key in told}, "registered": True}


def list_bases(wire: Wire, settings: config.Settings, text: str = "") -> list[dict[str, Any]]:
    """Base models of the hub and of this machine; `folder` says where one lies here."""
    here = {base.fingerprint: str(path) for path, base in bases.folders(settings)}
    found: list[dict[str, Any]] = []
    if not settings.offline:
        found = list(wire.request("GET", "base-models", params={"q": text} if text else None).data["results"])
    known = {entry["fingerprint"] for entry in found}
    remembered = config.remembered_bases(settings)
    for fingerprint in here.keys() - known:
        found.append(
            {"fingerprint": fingerprint, "name": remembered.get(fingerprint, {}).get("name"), "state": "local"}
        )
    return [{**entry, "folder": here.get(entry["fingerprint"])} for entry in found]


def add_benchmark(wire: Wire, path: Path | str) -> dict[str, Any]:
    """Registers a benchmark: its YAML and the files beside it, every row read here first. Raises UsageError."""
    source = Path(path)
    definition, data = read_benchmark(source)

    def form() -> Mapping[str, Any]:
        parts = {"definition": (source.name, definition, "application/yaml")}
        parts |= {name: (name, content, "application/octet-stream") for name, content in data.items()}
        return {"files": parts}

    return dict(wire.request("POST", "benchmarks", build=form, idempotent=True, timeout=300).data)


def read_benchmark(source: Path) -> tuple[bytes, dict[str, bytes]]:
    """(the definition, {file name: bytes}) after every rule was tried on them. Raises UsageError with all problems."""
    try:
        definition = source.read_bytes()
        raw = documents.loads_yaml(definition, where=source.name)
        names = [str(raw[key]) for key in ("data", "train") if raw.get(key)] if isinstance(raw, dict) else []
        data = {name: _beside(source, name) for name in names}
        digests = {name: hashlib.sha256(content).hexdigest() for name, content in data.items()}
        meant = benchmark.parse(definition, digests)
        for name, content in data.items():
            benchmark.read_rows(content, meant, name)
    except OSError as error:
        raise errors.UsageError(f"{error.filename or source} cannot be read: {error.strerror}") from None
    except SpecError as error:
        raise errors.from_spec(error, f"{source} is not a benchmark") from error
    return definition, data


def benchmark_labels(wire: Wire, name: str) -> tuple[str, ...]:
    """The labels of a benchmark of the hub, by class index. Raises NotFound."""
    answer = wire.request("GET", f"benchmarks/{segment_path(name)}").data
    return tuple(str(label) for label in answer.get("labels") or ())


def read_policy(path: Path | str) -> dict[str, Any]:
    """A policy file as the API takes it: {required, gates}. Raises UsageError with all problems."""
    source = Path(path)
    try:
        data = source.read_bytes()
        policy.parse(data)
        return dict(documents.loads_yaml(data, where=source.name) or {})
    except OSError as error:
        raise errors.UsageError(f"{source} cannot be read: {error.strerror}") from None
    except SpecError as error:
        raise errors.from_spec(error, f"{source} is not a policy") from error


def _folder_of(source: Path | str, settings: config.Settings) -> tuple[Path, dict[str, str] | None]:
    path = Path(source).expanduser()
    if path.is_dir():
        return path, None
    name = str(source)
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise errors.UsageError(f"{name} is not a folder", hint="name the folder of a base model, or a Hugging Face id")
    with contextlib.suppress(OSError):
        found = bases.fetch_from_hugging_face(name, None, offline=settings.offline)
        return found, {"kind": "hub", "name": name, "revision": found.name if len(found.name) == 40 else ""}
    raise errors.NotFound(f"{name} is no folder here and could not be fetched from Hugging Face")


def _beside(source: Path, name: str) -> bytes:
    """A data file of a benchmark: it lies beside the definition, wherever its name points."""
    if Path(name).name != name:
        raise errors.UsageError(f"{source}: {name!r} is not the name of a file beside it")
    return (source.parent / name).read_bytes()
