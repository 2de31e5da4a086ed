"""Is this package `hub` ours? The name `hub` on PyPI belongs to somebody else, who installs into the same folder."""

import importlib.metadata
import sys

MEND = "pip uninstall -y hub && pip install --force-reinstall --no-deps adapter-hub"


def overwritten() -> str:
    """Says so when another distribution has put its `hub` in the place of ours; empty when all is well."""
    package = sys.modules["hub"]
    if getattr(package, "__distribution__", None) == "adapter-hub":
        return ""
    return f"the package `hub` at {getattr(package, '__file__', 'an unknown place')} is not adapter-hub's{_other()}"


def rival() -> str:
    """Says so when the other distribution is installed beside ours: whichever came last has won; empty otherwise."""
    other = _other()
    return f"another project's distribution is installed under our package's name{other}" if other else ""


def _other() -> str:
    try:
        return f" (the distribution `hub` {importlib.metadata.version('hub')} is installed)"
    except importlib.metadata.PackageNotFoundError:
        return ""
