"""What a pull would fetch, decided before any weight travels: which version, whether it fits, what is missing here."""

import logging
from dataclasses import dataclass
from typing import Any

from hub import bases, errors, fitting, retrieval, suggestions
from hub.cache import Cache
from hub.fitting import Fit
from hub.retrieval import Resolution
from hub.spec.reference import Reference
from hub.transfer.wire import Wire

logger = logging.getLogger("hub")


@dataclass(frozen=True)
class Decision:
    """What was asked for, what the hub says that it is, and how it goes with the base model that was given."""

    meant: Reference
    found: Resolution
    fit: Fit | None

    def names(self, wire: Wire) -> tuple[str, ...]:
        """The keys under which the cache remembers the answer: none for a digest, which needs no hub."""
        if self.meant.digest:
            return ()
        exact = Reference(self.meant.namespace, self.meant.name, str(self.found.facts.get("version") or "") or None)
        return tuple({retrieval.memory_key(wire, entry) for entry in (exact, self.meant)})

    def plan(self, cache: Cache) -> dict[str, Any]:
        """{ref, digest, base_model, compatibility, files, fetch, bytes, size}; sizes in bytes."""
        missing = retrieval.missing(cache, self.found)
        return {
            "ref": self.found.ref,
            "digest": f"sha256:{self.found.digest}",
            "base_model": self.found.facts.get("base_model"),
            "compatibility": self.fit and self.fit.to_json(),
            "files": [file.to_json() for file in self.found.files],
            "fetch": [file.path for file in missing],
            "bytes": sum(file.size for file in missing),
            "size": self.found.manifest.size,
        }


def decide(
    wire: Wire, cache: Cache, meant: Reference, wanted: bases.Meant | None, *, allow_shape_only: bool
) -> Decision:
    """Resolve a reference and hold it against a base model. Raises NotFound, Yanked, IncompatibleBaseModel."""
    with suggestions.about(wire, meant):
        found = retrieval.resolve(wire, cache, meant, wanted)
    folders = [str(part.get("folder") or "") for part in found.facts.get("components") or []]
    if meant.folder and meant.folder not in folders:
        raise suggestions.improve(
            errors.NotFound(f"{found.ref} has no adapter in #{meant.folder}", hint=f"there are: {folders}"),
            meant.folder,
            folders,
        )
    if found.facts.get("yanked"):
        logger.warning("%s was yanked: %s", found.ref, found.facts["yanked"].get("reason"))
    if found.facts.get("regressed"):
        logger.warning("%s no longer passes what it passed when it was published: hub report says more", found.ref)
    return Decision(meant, found, fitting.judge(wire, cache, found, wanted, allow_shape_only=allow_shape_only))
