"""Is the backbone what it was?"""

from hub import runtime
from hub.runtime.base import Backbone
from workers.ledger import Finding

CHANGED = "an adapter must not carry or change weights of its base model"


def frozen(backbone: Backbone) -> Finding:
    """The backbone hashed again, as it lies in memory after everything that ran."""
    found = runtime.rehash(backbone)
    evidence = {"fingerprint": found}
    if found == backbone.fingerprint:
        return Finding("frozen", "passed", "the backbone's hash is what it was", evidence=evidence)
    message = f"the backbone was changed: it hashes to {found} now"
    return Finding("frozen", "failed", message, CHANGED, evidence)
