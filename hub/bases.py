"""Base models from the user's side: what he means by one, and where it lies on this machine.

A person names a base model by a folder, by `base:<64 hex>`, by a name that the hub knows, or hands over a live model.
A name goes to the hub; the others are described here, so that a clash is known before any weight travels.
"""

import contextlib
import dataclasses
import functools
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hub import base_folder, config, descriptions, errors, live
from hub.spec.base_model import BaseModel
from hub.transfer import huggingface

logger = logging.getLogger("hub")


@dataclass(frozen=True)
class Meant:
    """What an argument `base` means: the word for the hub, and what is known here already.

    `found` says of a live model how it was told which one it is. `here` gives the base model of a fingerprint that was added on
    this machine.
    """

    word: str
    base: BaseModel | None = None
    folder: Path | None = None
    found: str = ""
    here: Callable[[str], BaseModel | None] = dataclasses.field(default=lambda fingerprint: None, compare=False)

    @property
    def called(self) -> str:
        """What to call it in a sentence."""
        return "this model" if self.found else str(self.folder or self.word)


def meaning(base: object, settings: config.Settings, known: live.Known = lambda name, commit: None) -> Meant | None:
    """A folder, a fingerprint, a name, a BaseModel or a live model, understood. None stays None. Raises UsageError.

    `known` tells what the hub knows of a name at a commit: a live model that came from there need not be hashed whole.
    """
    if base is None or isinstance(base, Meant):
        return base
    return dataclasses.replace(_meaning(base, settings, known), here=functools.partial(_remembered, settings))


def _meaning(base: object, settings: config.Settings, known: live.Known) -> Meant:
    if isinstance(base, BaseModel):
        return Meant(base.fingerprint, base)
    if isinstance(base, (str, os.PathLike)):
        return _named(os.fspath(base), settings, only_folder=not isinstance(base, str))
    if hasattr(base, "state_dict"):
        described, found = live.describe(base, settings, known)
        logger.info("base model %s: %s", described.fingerprint, found)
        return Meant(described.fingerprint, described, found=found)
    raise errors.UsageError(
        f"a base model is a folder, a name, a fingerprint or a model, not {type(base).__name__}",
        hint="for example base='path/to/bert' or base=model",
    )


def folders(settings: config.Settings) -> Iterator[tuple[Path, BaseModel]]:
    """Every base model of this machine that we know of: HUB_BASES first, then those that `hub base add` remembered."""
    remembered = [Path(entry["folder"]) for entry in config.remembered_bases(settings).values()]
    present = [folder for folder in remembered if folder.is_dir()]
    yield from descriptions.catalogue((*settings.bases, *present), cache=settings.cache / "bases")


def _remembered(settings: config.Settings, fingerprint: str) -> BaseModel | None:
    """The base model that `hub base add` hashed here; None where it is here no more, or another one."""
    entry = config.remembered_bases(settings).get(fingerprint)
    if entry is None or not Path(entry["folder"]).is_dir():
        return None
    with contextlib.suppress(errors.HubError):
        found = descriptions.describe(entry["folder"], cache=settings.cache / "bases")
        return found if found.fingerprint == fingerprint else None
    return None


def outlines(settings: config.Settings, also: Iterable[Path] = ()) -> Iterator[tuple[str, Path, BaseModel]]:
    """(name, folder, base model) of every base model of this machine, nothing hashed for it: `also` first, then HUB_BASES,
    what `hub base add` remembered, and the cache of Hugging Face's libraries."""
    remembered = config.remembered_bases(settings).values()
    names = {str(entry["folder"]): str(entry["name"]) for entry in remembered if entry.get("name")}
    places = [
        *also,
        *settings.bases,
        *(Path(entry["folder"]) for entry in remembered),
        base_folder.hugging_face_cache(),
    ]
    for folder in descriptions.candidates(places):
        try:
            base = descriptions.outline(folder, cache=settings.cache / "bases")
        except errors.HubError as error:
            logger.debug("%s is passed over: %s", folder, error.message)
            continue
        yield names.get(str(folder.absolute())) or base_folder.called(folder), folder, base


def locate(wanted: Mapping[str, Any], settings: config.Settings, *, base: object = None) -> Path:
    """The folder of the base model that an adapter is bound to.

    `wanted` is `base_model` of a resolve answer: fingerprint, roots, locations. Order: the argument, HUB_BASES, the
    remembered folders, then a Hugging Face location. Raises IncompatibleBaseModel for a wrong one, NotFound with what
    to do for none.
    """
    meant = meaning(base, settings)
    if meant is not None:
        if meant.base is not None:
            insist(meant.base, wanted, meant.folder or "the model")
        if meant.folder is None:
            raise errors.UsageError(
                "to load an adapter, `base` is the folder of a base model",
                hint="leave it out: the folders of HUB_BASES and of `hub base add` are searched by hash",
            )
        return meant.folder
    for folder, found in folders(settings):
        if same(found, wanted):
            return folder
    for location in wanted.get("locations") or ():
        fetched = _from_hugging_face(location, settings)
        if fetched is not None and same(descriptions.describe(fetched, cache=settings.cache / "bases"), wanted):
            return fetched
    raise errors.NotFound(
        f"the base model {_label(wanted)} is not on this machine",
        hint=(
            "give its folder (base=...), put the folder that holds it into HUB_BASES, or run `hub base add DIR` once"
        ),
    )


def insist(found: BaseModel, wanted: Mapping[str, Any], where: object) -> None:
    """Raises IncompatibleBaseModel unless an adapter bound to `wanted` is bound to `found`, which lies in `where`."""
    if not same(found, wanted):
        raise errors.IncompatibleBaseModel(
            f"{where} is {found.fingerprint}, the adapter was judged on {_label(wanted)}",
            hint="leave `base` out to let the hub's client look for the right one",
        )


def same(found: BaseModel, wanted: Mapping[str, Any]) -> bool:
    """True when an adapter bound to `wanted` is bound to `found`: the same weights, or at least the same backbone, under
    the same configuration and tokenizer. Where the hub does not say one of these, it is not compared."""
    backbone = (wanted.get("roots") or {}).get("backbone")
    weights = found.fingerprint == wanted.get("fingerprint") or (
        not wanted.get("reads_pooler", True) and backbone is not None and found.roots.get("backbone") == backbone
    )
    ways = ("architecture", "tokenizer_digest")
    return weights and all(getattr(found, way) == wanted[way] for way in ways if wanted.get(way))


def _named(text: str, settings: config.Settings, *, only_folder: bool) -> Meant:
    path = Path(text).expanduser()
    if path.is_dir():
        base = descriptions.describe(path, cache=settings.cache / "bases")
        return Meant(base.fingerprint, base, path)
    if only_folder or text.startswith((".", "/", "~")) or text.count("/") > 1 or os.sep + os.sep in text:
        raise errors.UsageError(f"{text} is not a folder", hint="name the folder of a base model")
    if not text.strip() or text in {"None", "null"}:
        raise errors.UsageError("which base model? its name is empty", hint="give a folder, a name or base:<64 hex>")
    if text.startswith("base:"):
        for folder, found in folders(settings):
            if found.fingerprint == text:
                return Meant(text, found, folder)
    return Meant(text)


def _from_hugging_face(location: Mapping[str, Any], settings: config.Settings) -> Path | None:
    if location.get("kind") != "hub" or location.get("state") in {"gone", "gated"} or not location.get("name"):
        return None
    with contextlib.suppress(Exception):  # whatever that library raises: then the base model is simply not found there
        return huggingface.fetch(str(location["name"]), location.get("revision") or None, offline=settings.offline)
    return None


def _label(wanted: Mapping[str, Any]) -> str:
    name, fingerprint = wanted.get("name"), wanted.get("fingerprint")
    return f"{name} ({fingerprint})" if name and name != fingerprint else str(fingerprint)


def names(entries: Iterable[Mapping[str, Any]]) -> list[str]:
    """The names in a list of base models, for suggestions."""
    return [str(entry["name"]) for entry in entries if entry.get("name")]
