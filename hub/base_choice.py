"""The base model that a verb was given, or that a folder names: what is known of it here, else what the hub knows."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from hub import bases, config, errors, fitting, preparation, suggestions
from hub.spec.base_model import BaseModel
from hub.transfer.wire import Wire

Told = TypeVar("Told")


def meaning(wire: Wire, settings: config.Settings, base: object) -> bases.Meant | None:
    """What an argument `base` means; the hub is asked about a live model that came from Hugging Face. Raises UsageError."""
    return bases.meaning(base, settings, fitting.from_place(wire))


def described(wire: Wire, meant: bases.Meant | None) -> BaseModel | None:
    """The base model with its hashes; None of None. Raises NotFound, with the names that may have been meant."""
    if meant is None or meant.base is not None:
        return meant.base if meant else None
    return _asked(wire, meant.word, fitting.base_tensors)


def outlined(wire: Wire, meant: bases.Meant | None) -> tuple[BaseModel | None, bool]:
    """The same, and whether it was hashed: of one that the hub knows by its headers only shapes mean something."""
    if meant is None or meant.base is not None:
        return (meant.base if meant else None), True
    return _asked(wire, meant.word, fitting.base_outline)


def _asked(wire: Wire, word: str, ask: Callable[[Wire, str], Told]) -> Told:
    """What the hub says of a base model that goes by this word."""
    with suggestions.about_name(wire, word, "base-models"):
        return ask(wire, word)


def of_folder(
    wire: Wire, settings: config.Settings, folder: Path | str, base: object, said: dict[str, Any], dry: bool
) -> tuple[BaseModel | None, list[str], errors.NotFound | None]:
    """(the base model to compare an adapter's folder with, notes, what the hub says of one that the folder names and it does
    not know); its fingerprint goes into `said` where the user chose it.

    Without a choice, the one that the folder names. `dry`: where the hub cannot be reached, a note says so instead. Raises
    NetworkError, and NotFound for a choice that is nowhere known.
    """
    meant, chosen = meaning(wire, settings, base), base is not None
    own = preparation.declared_base(folder) if meant is None else None
    if meant is None and own:
        meant = bases.Meant(own)
    try:
        found = described(wire, meant)
    except (errors.NetworkError, errors.NotFound) as error:
        if chosen if isinstance(error, errors.NotFound) else not dry:
            raise
        if chosen and meant is not None:
            said["base"] = meant.word
        note = f"the shapes were not compared with the base model: {error.message}"
        return None, [note], error if isinstance(error, errors.NotFound) else None
    if chosen and found is not None:
        said["base"] = found.fingerprint
    return found, [], None
