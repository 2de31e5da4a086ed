"""The base models that lie on this machine."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from hub import casting, descriptions
from hub.spec import families
from hub.spec.base_model import BaseModel


@dataclass(frozen=True)
class Base:
    """A base model and the folder that holds it."""

    folder: Path
    model: BaseModel


def find(folders: Iterable[Path], cache: Path) -> dict[str, Base]:
    """Fingerprint -> base model, of the families that can be run. Folders that did not change are not hashed again.

    The roots of their casts are computed, too (five times the hashing, once a folder): only a worker is believed them.
    """
    return {
        model.fingerprint: Base(folder, model)
        for folder, model in descriptions.catalogue(folders, cache=cache, casts=casting.available())
        if model.model_type in families.RUNS
    }
