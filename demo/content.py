"""Fill a running hub with the demo's content: base model, benchmark, the good adapter. `manage.py up` runs it.

    python -m demo.content --endpoint URL        (HUB_DATA names the hub's data folder, for a token)

Run again it finds everything in place and changes nothing.
"""

import argparse
import os
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

from demo.base import BASE_NAME
from demo.hubs import Hub, fill, make_token
from demo.pushes import PUSHES, push
from demo.shipped import ADAPTER, lay_benchmark


def is_there(endpoint: str) -> bool:
    """Whether the hub shows the demo's adapter already."""
    try:
        with urllib.request.urlopen(f"{endpoint}/api/v1/adapters/library/{PUSHES[0].name}", timeout=10) as answer:
            return bool(answer.status == 200)
    except urllib.error.URLError:
        return False


def main() -> int:
    """Fill the hub; exit 0 when the adapter is published, else with what `hub push` ended with."""
    parser = argparse.ArgumentParser(prog="python -m demo.content", description="Fill a running hub with the demo.")
    parser.add_argument("--endpoint", required=True)
    endpoint = parser.parse_args().endpoint
    if is_there(endpoint):
        return 0
    with tempfile.TemporaryDirectory(prefix="hub-content-") as work:
        hub = Hub(endpoint, make_token(Path(os.environ["HUB_DATA"]), "demo", "admin"), Path(work) / "cache")
        benchmark = lay_benchmark(Path(work) / "benchmark")
        fill(hub, benchmark.file)
        outcome = push(hub, PUSHES[0], ADAPTER, BASE_NAME, benchmark.name)
    print(outcome.stderr, file=sys.stderr)
    return outcome.exit


if __name__ == "__main__":
    sys.exit(main())
