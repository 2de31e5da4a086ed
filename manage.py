#!/usr/bin/env python
"""Commands of the server: `python manage.py up`, `token`, `relay`, `migrate`, ... (see `help`)."""

import os
import sys
from pathlib import Path

from registry.embedded import folder

ROOT = Path(__file__).resolve().parent


def data_folder(words: list[str]) -> Path:
    """Return the folder that --data or HUB_DATA names; `var` beside this file where neither does."""
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word == "--data":
            return Path(following)
        if word.startswith("--data="):
            return Path(word.partition("=")[2])
    return Path(os.environ.get("HUB_DATA") or ROOT / "var")


def main() -> None:
    """Run a command. Where DATABASE_URL names no database, that of the hub which `up` runs is taken."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "registry.settings")
    if sys.argv[1:2] != ["up"]:
        folder.adopt(os.environ, data_folder(sys.argv[1:]))
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
