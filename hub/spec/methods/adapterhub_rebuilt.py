"""AdapterHub's configurations as a hub serves them: known keys, and values that are numbers, switches and words."""

from __future__ import annotations

from typing import Any

from hub.spec import components
from hub.spec.methods import rewriting
from hub.spec.methods.rewriting import GONE, PLACE, UNREAD

_KEYS = frozenset(
    {"adapter_names", "config", "config_id", "hidden_size", "model_class", "model_name", "model_type", "name", "type",
     "version"}
)  # fmt: skip
_NAMES = ("name", "adapter_names")
_START = ("prompt_init", "prompt_init_text")
"""A text that a prompt started from: the prompt is in the tensors, and the library would ask for a tokenizer."""


def rebuilt(source: components.Source) -> tuple[rewriting.Rewritten, ...]:
    """Return what is served otherwise than it was sent: the adapter's configuration, and that of its head."""
    found = [_adapter(source)]
    if source.head_config is not None:
        found.append(_head(source.head_config_path, source.head_config))
    return tuple(one for one in found if one)


def _adapter(source: components.Source) -> rewriting.Rewritten | None:
    changes: dict[str, str] = {}
    config = {key: value for key, value in source.config.items() if key in _KEYS}
    changes |= {key: GONE for key in source.config if key not in _KEYS}
    for key in [key for key in config if key not in ("config", "model_name", *_NAMES)]:
        if not rewriting.is_plain(config[key]):
            del config[key]
            changes[key] = GONE
    _change_place(config, changes)
    if isinstance(config["config"], dict):
        config["config"] = _inner(config["config"], "config", changes)
    return rewriting.written(source.config_path, config, changes)


def _inner(config: dict[str, Any], path: str, changes: dict[str, str]) -> dict[str, Any]:
    """The library's own settings; those of a union's parts lie in a list."""
    away = set(_START) if config.get("prompt_init_text") else set()
    away |= {key for key, value in config.items() if key != "configs" and not rewriting.is_plain(value)}
    changes |= {f"{path}.{key}": UNREAD if key in _START else GONE for key in away & set(config)}
    kept = {key: value for key, value in config.items() if key not in away}
    parts = kept.get("configs")
    if isinstance(parts, list):
        kept["configs"] = [
            _inner(part, f"{path}.configs", changes) if isinstance(part, dict) else part for part in parts
        ]
    return kept


def _head(path: str, config: dict[str, Any]) -> rewriting.Rewritten | None:
    changes: dict[str, str] = {}
    config = dict(config)
    _change_place(config, changes)
    return rewriting.written(path, config, changes)


def _change_place(config: dict[str, Any], changes: dict[str, str]) -> None:
    if config.get("model_name") and rewriting.is_place(config["model_name"]):
        config["model_name"] = None
        changes["model_name"] = PLACE
