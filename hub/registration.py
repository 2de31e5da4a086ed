"""What a hub must know before it can judge: base models, benchmarks, policies."""

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hub import base_folder, bases, config, descriptions, errors, locating, stored, tables
from hub.locating import Located
from hub.spec import benchmark, documents, policy, rows
from hub.spec.base_model import BaseModel
from hub.spec.errors import Collector, SpecError
from hub.spec.words import closest
from hub.transfer import huggingface
from hub.transfer.huggingface import Repository
from hub.transfer.wire import Wire
from hub.verdicts import segment_path

logger = logging.getLogger("hub")


def add_base(
    wire: Wire,
    settings: config.Settings,
    source: Path | str,
    *,
    name: str | None = None,
    download: bool = False,
    store: bool = False,
    quiet: bool = False,
) -> dict[str, Any]:
    """Reads a base model, remembers where it lies, and registers it with the hub where a token allows that.

    `source` is a folder or a Hugging Face id, OWNER/NAME[@REVISION]. Of an id that is not on this machine only the headers
    are read, and the hub knows it as located, without a fingerprint; `download` fetches it whole. With `store`
    the hub keeps its files. Returns {fingerprint, folder, name, registered, ...}. Raises UsageError, AuthError, NotFound, NetworkError.
    """
    if store and not wire.has_token:
        raise errors.AuthError("--store needs a token of an operator", hint="run `hub login`, or set HUB_TOKEN")
    path, found, location = _meant(source, settings, download or store)
    if path is not None or found is None:
        folder = path or Path(source)
        told = _add_folder(wire, settings, folder, location, name)
        return told | ({"stored": stored.store(wire, told["fingerprint"], folder, quiet=quiet)} if store else {})
    return _add_located(wire, locating.read(found, quiet=quiet), name or found.name)


def _add_folder(
    wire: Wire, settings: config.Settings, path: Path, location: dict[str, str] | None, name: str | None
) -> dict[str, Any]:
    base = descriptions.describe(path, cache=settings.cache / "bases")
    known = config.remembered_bases(settings).get(base.fingerprint, {})
    config.remember_base(settings, base.fingerprint, path.absolute(), name or known.get("name"))
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
    body = hashed(wire, base, path) | ({"name": name} if name else {})
    if location is not None and wire.request("GET", "me").data.get("scope") == "admin":
        body |= {"locations": [location]}  # where the library's names lie is for operators to say
    told = wire.request("POST", "base-models", json=body, idempotent=True).data
    if told.get("fingerprint") != base.fingerprint:
        raise errors.IntegrityError("the hub computed another fingerprint from the same tensors", hint="tell its owner")
    return {**answer, **{key: told[key] for key in ("name", "state", "aliases") if key in told}, "registered": True}


def _add_located(wire: Wire, found: Located, name: str) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "fingerprint": None,
        "folder": None,
        "name": name,
        "source": found.source,
        "revision": found.revision,
        "tensors": len(found.tensors),
        "size": found.size,
        "read": found.read,
        "registered": False,
    }
    if not wire.has_token:
        return answer
    body = {**found.to_json(), "name": name}
    if found.private and "/" in name and name != found.source:
        body["private"] = True  # who may not read the repository learns nothing of it here
    told = wire.request("POST", "base-models/located", json=body, idempotent=True).data
    shown = {key: told[key] for key in ("fingerprint", "name", "state", "parameters", "aliases") if key in told}
    return {**answer, **shown, "registered": True}


def hashed(wire: Wire, base: BaseModel, folder: Path) -> dict[str, Any]:
    """What is told of a base model whose bytes were hashed in a folder: the body of `POST base-models`, but for the name."""
    value = base.to_json()
    body = {key: value[key] for key in ("leaves", "config", "tokenizer_digest")}
    body |= {key: value[key] for key in ("cast_roots", "logical") if value[key]}
    return body | held_files(wire, folder)


def held_files(wire: Wire, folder: Path) -> dict[str, Any]:
    """{"files": [{path, size, sha256}]} of the weights in a folder where the hub waits for somebody who holds as many bytes;
    else nothing, and nothing is hashed for it. Where the hub does not say whether it waits, the leaves go without: they are the
    message."""
    size = base_folder.size(folder)
    try:
        waits = wire.request("GET", "base-models/located", params={"bytes": size}).data["results"]
    except errors.HubError as error:
        logger.debug("whether the hub waits for %s bytes of weights is not known: %s", size, error)
        return {}
    return {"files": [file.to_json() for file in base_folder.weight_files(folder)]} if waits else {}


def list_bases(wire: Wire, settings: config.Settings) -> list[dict[str, Any]]:
    """Base models of the hub and of this machine; `folder` says where one lies here."""
    here = {base.fingerprint: str(path) for path, base in bases.folders(settings)}
    found: list[dict[str, Any]] = []
    if not settings.offline:
        page = wire.request("GET", "base-models").data
        found = list(page["results"])
        while page.get("next"):
            page = wire.request("GET", page["next"]).data
            found += page["results"]
    known = {entry["fingerprint"] for entry in found if entry["fingerprint"]}
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
    """(the definition, {file name: bytes}) after every rule was tried on them; Parquet files and data sets of the Hugging
    Face Hub are JSONL by then. Raises UsageError with all problems."""
    try:
        definition = source.read_bytes()
        raw, made = documents.loads_yaml(definition, where=source.name), dict[str, bytes]()
        if isinstance(raw, dict):
            raw, made = tables.resolved(raw, source.parent)
        if made:
            definition = json.dumps(raw, ensure_ascii=False, indent=1).encode()
        collector = Collector()
        data = _files(source, raw if isinstance(raw, dict) else {}, made, collector)
        digests = {name: hashlib.sha256(content or name.encode()).hexdigest() for name, content in data.items()}
        meant = None
        with collector.collect():
            meant = benchmark.parse(definition, digests)
        collector.finalize()
        read = {name: content for name, content in data.items() if content is not None}
        for name, content in read.items():
            rows.read(content, meant, name)
    except OSError as error:
        raise errors.UsageError(f"{error.filename or source} cannot be read: {error.strerror}") from None
    except SpecError as error:
        raise errors.from_spec(error, f"{source} is not a benchmark") from error
    return definition, read


def _files(
    source: Path, raw: Mapping[str, Any], made: Mapping[str, bytes], collector: Collector
) -> dict[str, bytes | None]:
    """{file name: bytes} of the data; None for one that cannot be read, which is told by its key and with its likeliest neighbour."""
    found: dict[str, bytes | None] = {}
    for key in ("data", "train"):
        if name := str(raw.get(key) or ""):
            try:
                found[name] = made[name] if name in made else _beside(source, name)
            except OSError as error:
                found[name] = None
                near = closest(name, (file.name for file in source.parent.iterdir()), 1)
                hint = f"did you mean {near[0]}?" if near else "a data file lies beside its definition"
                collector.add(benchmark.problem(key, f"{name} cannot be read: {error.strerror}", hint))
    return found


def benchmark_labels(wire: Wire, name: str) -> tuple[str, ...]:
    """The labels of a benchmark of the hub, by class index. Raises NotFound."""
    return tuple(str(label) for label in benchmark_of(wire, name).get("labels") or ())


def benchmark_of(wire: Wire, name: str) -> dict[str, Any]:
    """A benchmark of the hub as its API shows it. Raises NotFound."""
    return dict(wire.request("GET", f"benchmarks/{segment_path(name)}").data)


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


def _meant(
    source: Path | str, settings: config.Settings, download: bool
) -> tuple[Path | None, Repository | None, dict[str, str] | None]:
    """(the folder where it is on this machine, else the repository; and where that base model lies for everybody)."""
    path = Path(source).expanduser()
    if path.is_dir():
        return path, None, None
    name, _, revision = str(source).partition("@")
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise errors.UsageError(f"{name} is not a folder", hint="name the folder of a base model, or a Hugging Face id")
    variable = "HUB_OFFLINE" if settings.offline else "HF_HUB_OFFLINE" if huggingface.offline() else ""
    if variable:
        folder = huggingface.in_cache(name, revision or None)
        if folder is None or not base_folder.is_base(folder):
            raise huggingface.no_connection(str(source), variable)
        return folder, None, _place(name, folder.name)
    found = huggingface.look(name, revision or None)
    kept = locating.kept(found)
    if kept is None and download:
        with huggingface.told(found.name, found.commit):
            kept = huggingface.fetch(found.name, found.commit, offline=False)
    return kept, found, _place(found.name, found.commit)


def _place(name: str, commit: str) -> dict[str, str]:
    return {"kind": "hub", "name": name, "revision": commit}


def _beside(source: Path, name: str) -> bytes:
    """A data file of a benchmark: it lies beside the definition, wherever its name points."""
    if Path(name).name != name:
        raise errors.UsageError(f"{source}: {name!r} is not the name of a file beside it")
    return (source.parent / name).read_bytes()
