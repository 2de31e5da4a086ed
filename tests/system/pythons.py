"""A Python for processes that run as another user than the tests: ours often lies where only root can walk."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

from registry.embedded.account import Account

PACKAGES = Path(sysconfig.get_path("purelib"))


def reachable(account: Account) -> str | None:
    """A Python 3.11 that this user can run, None where it cannot reach one, or the packages, or where we are not root."""
    if os.geteuid() != 0 or not account.reaches(PACKAGES):
        return None
    candidates = (Path(sys.executable), Path("/usr/bin/python3.11"), Path("/usr/local/bin/python3.11"))
    return next((str(path) for path in candidates if path.exists() and account.reaches(path)), None)


def add_backports(python: str, folder: Path) -> None:
    """Lay into `folder` what pip would have installed for this Python, and did not for ours.

    Before Python 3.11.3 redis-py takes `timeout` from async_timeout, which is asyncio's own by another name.
    """
    code = "import sys; sys.exit(sys.version_info < (3, 11, 3))"
    if subprocess.run([python, "-c", code], check=False).returncode:
        (folder / "async_timeout.py").write_text("from asyncio import timeout\n\n__all__ = ['timeout']\n")
