"""What judging adapters costs, beside what a person would do: tables on stderr, JSON on stdout.

    python bench/validation.py [--data DIR] [--rows 128,512] [--each 4] [--rounds 3] [--growth] [--only throughput,...]

Throughput in adapters a minute, two processes of one thread each, LoRA r = 8 on query and value of all-MiniLM-L6-v2, float32:

    fresh     a process per adapter: import, load, attach, tokenise, predict with padding to the longest of 32 rows in file order
    resident  one process: peft's load_adapter, set_adapter, delete_adapter; tokens kept, rows sorted by length
    forward   the plain base model over the same sorted batches: no adapter, no head
    ours      two backbone processes: every check, both passes, the verdict

All sides of a ratio are measured in turn, round by round, in one run; CPU seconds an adapter stand beside them, for machines that have
other work. `methods` tells what ours takes for other methods; `growth` how it goes on with many adapters, base models and rows.
"""

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bench.judging import growth, methods, throughput


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT / "demo" / "reviews", help="folder with dev.tsv, train*.tsv")
    parser.add_argument("--rows", default="128,512")
    parser.add_argument("--each", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="throughput,methods")
    parser.add_argument("--growth", action="store_true")
    asked = parser.parse_args()
    folder, found = Path(tempfile.mkdtemp(prefix="bench-")), dict[str, Any]()
    wanted = [*asked.only.split(","), *(["growth"] if asked.growth else [])]
    counts = [int(count) for count in asked.rows.split(",")]
    try:
        if "throughput" in wanted:
            found["throughput"] = throughput.measure(folder, asked.data, counts, asked.each, asked.rounds)
            throughput.tell(found["throughput"])
        if "methods" in wanted:
            found["methods"] = methods.measure(folder, asked.data, counts[-1], asked.each)
            methods.tell(found["methods"])
        if "growth" in wanted:
            found["growth"] = growth.measure(folder, asked.data)
            growth.tell(found["growth"])
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(found))
    return 0 if all(throughput.met(row) for row in found.get("throughput", [])) else 1


if __name__ == "__main__":
    sys.exit(main())
