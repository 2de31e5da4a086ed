"""PEFT's LoRA configuration, judged key by key and rebuilt from an allow-list.

No pattern of a user's is ever evaluated. What changes the base model, allocates by a number nobody checked, or asks
for code by name is refused; what only matters in training is set aside.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable
from typing import Any

from hub.spec import base_model, components, documents

MAX_RANK = 1024
MAX_ALPHA = 1e5
MAX_NAMES = 512
MAX_REPEATS = 4
"""Repetitions in a pattern: each more takes a reader's time to another power."""
TASKS = (None, "SEQ_CLS", "FEATURE_EXTRACTION")
_NAME = re.compile(r"[A-Za-z0-9_.\-]{1,200}")
_META = re.compile(r"[\\*+?\[\](){}|^$]")
# starts from noise: loading such a file leaves the base alone
_HARMLESS_INIT = (True, False, None, "true", "false", "True", "False", "gaussian", "orthogonal", "eva", "mica")
_INIT_HINT = "convert it: save_pretrained(..., path_initial_model_for_weight_conversion=...) writes a plain LoRA"
# key -> (values that mean "off", what it is)
_NOT_YET: dict[str, tuple[tuple[Any, ...], str]] = {
    "use_dora": ((None, False), "DoRA"),
    "use_qalora": ((None, False), "QA-LoRA"),
    "use_bdlora": ((None, False), "BD-LoRA"),
    "lora_bias": ((None, False), "a bias in LoRA's own layers (lora_bias)"),
    "layer_replication": ((None, [], False), "layer_replication, which grows the base model"),
    "target_parameters": ((None, [], False), "target_parameters"),
    "trainable_token_indices": ((None, [], {}, False), "trainable_token_indices"),
    "alora_invocation_tokens": ((None, [], False), "aLoRA (alora_invocation_tokens)"),
    "arrow_config": ((None, {}), "Arrow routing (arrow_config)"),
    "kasa_config": ((None, {}), "KaSA (kasa_config)"),
    "monteclora_config": ((None, {}), "MonteCLoRA (monteclora_config)"),
    "velora_config": ((None, {}), "VeLoRA (velora_config)"),
    "megatron_config": ((None, {}), "Megatron models (megatron_config)"),
    "fan_in_fan_out": ((None, False), "fan_in_fan_out (GPT-2's transposed layers)"),
}
# what else PEFT 0.4 to 0.21 writes: of no consequence once the adapter is trained
_SET_ASIDE = frozenset(
    {"peft_type", "peft_version", "inference_mode", "lora_dropout", "revision", "base_model_name_or_path",
     "loftq_config", "eva_config", "corda_config", "lora_ga_config", "runtime_config", "qalora_group_size",
     "ensure_weight_tying", "auto_mapping", "megatron_core", "enable_lora", "merge_weights"}
)  # fmt: skip
_READ = frozenset(
    {"r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora", "target_modules", "exclude_modules",
     "layers_to_transform", "layers_pattern", "modules_to_save", "task_type", "bias", "init_lora_weights"}
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Settings:
    """The part of the configuration that says what the tensors are.

    `targets` is a list of literal names, or None where the file names them by a pattern: then the tensors say.
    """

    r: int
    alpha: float
    rslora: bool
    rank_pattern: dict[str, int]
    alpha_pattern: dict[str, float]
    targets: tuple[str, ...] | None
    all_linear: bool
    excluded: tuple[str, ...] | None
    layers: frozenset[int] | None
    saved: frozenset[str]
    task_type: str | None

    def rank_of(self, module: str) -> int:
        """Return the rank that the configuration gives a module (by its name in the file)."""
        return next((rank for name, rank in self.rank_pattern.items() if matches(module, name)), self.r)

    def scale_of(self, module: str, rank: int) -> float:
        """Return the factor before B A x: alpha / r, or alpha / sqrt(r) with rank-stabilised scaling."""
        alpha = next((alpha for name, alpha in self.alpha_pattern.items() if matches(module, name)), self.alpha)
        return alpha / math.sqrt(rank) if self.rslora else alpha / rank

    def targeted(self, *paths: str) -> bool:
        """Tell whether a module (by its names in the file and in the body) is one the configuration names literally."""
        if self.targets is not None and not _any(paths, self.targets):
            return False
        if _any(paths, self.excluded or ()):
            return False
        return self.layers is None or base_model.layer_of(paths[0]) in self.layers


def _any(paths: Iterable[str], names: Iterable[str]) -> bool:
    return any(matches(path, name) for path in paths for name in names)


def matches(module: str, name: str) -> bool:
    """Tell whether a literal name means a module: the whole path, or its end after a dot (as PEFT does)."""
    return module == name or module.endswith(f".{name}")


def read(source: components.Source) -> Settings:
    """Judge the configuration; faults are collected, and a usable value stands in for each."""
    config = source.config
    _refuse_attacks(source)
    _refuse_unsupported(source)
    for key in sorted(set(config) - _SET_ASIDE - _READ - set(_NOT_YET)):
        if config[key] in (None, False, "", [], {}):
            source.notices.append(
                f"the key {documents.shorten(key)} is not known here; it says nothing and was set aside"
            )
        else:  # a variant of a later PEFT may have the same tensors and other arithmetic
            message = (
                f"is a key this hub does not know ({documents.shorten(config[key])}); what it changes cannot be run"
            )
            source.config_problem("unsupported", documents.shorten(key), message, "remove it if it changes nothing")
    task_type = config.get("task_type")
    if task_type not in TASKS:
        source.config_problem("task_type", "task_type", f"this hub does not run {documents.shorten(task_type)} yet",
                              "it runs SEQ_CLS and FEATURE_EXTRACTION")  # fmt: skip
    patterns = {
        "rank_pattern": _pattern(source, "rank_pattern"),
        "alpha_pattern": _pattern(source, "alpha_pattern"),
    }
    targets, all_linear = _targets(source)
    return Settings(
        r=_rank(source, "r", config.get("r", 8)),
        alpha=_alpha(source, "lora_alpha", config.get("lora_alpha", 8)),
        rslora=_flag(source, "use_rslora"),
        rank_pattern={
            name: _rank(source, f"rank_pattern.{name}", value) for name, value in patterns["rank_pattern"].items()
        },
        alpha_pattern={
            name: _alpha(source, f"alpha_pattern.{name}", value) for name, value in patterns["alpha_pattern"].items()
        },
        targets=targets,
        all_linear=all_linear,
        excluded=_names(source, "exclude_modules"),
        layers=_layers(source),
        saved=_saved(source, task_type),
        task_type=task_type if isinstance(task_type, str) else None,
    )


def _refuse_attacks(source: components.Source) -> None:
    config = source.config
    init = config.get("init_lora_weights", True)
    if init not in _HARMLESS_INIT:
        message = f"{documents.shorten(init)!r} changes the base model's weights when it is loaded"
        source.config_problem("init", "init_lora_weights", message, _INIT_HINT)
    if config.get("bias", "none") != "none":
        message = (
            f"{documents.shorten(config['bias'])!r} changes biases of the base model; this hub does not run it yet"
        )
        source.config_problem("bias", "bias", message, 'train with bias="none"')
    if config.get("megatron_core") not in (None, "megatron.core"):
        message = f"{documents.shorten(config['megatron_core'])!r} names code to import"
        source.config_problem("import", "megatron_core", message, "remove the key")
    _refuse_mapping(source, config.get("auto_mapping"))


def _refuse_mapping(source: components.Source, mapping: Any) -> None:
    """PEFT imports `parent_library`; its own files name a module of transformers there."""
    if mapping is None:
        return
    library = mapping.get("parent_library") if isinstance(mapping, dict) else mapping
    if library is not None and not re.fullmatch(r"transformers(\.[A-Za-z0-9_]+){0,6}", str(library)):
        message = f"{documents.shorten(library)!r} names code to import"
        source.config_problem("import", "auto_mapping", message, "remove the key")


def _refuse_unsupported(source: components.Source) -> None:
    for key, (off, what) in _NOT_YET.items():
        if key in source.config and source.config[key] not in off:
            source.config_problem("unsupported", key, f"this hub does not run {what} yet")


def _rank(source: components.Source, key: str, value: Any) -> int:
    if type(value) is not int or not 1 <= value <= MAX_RANK:
        source.config_problem("rank", key, f"{documents.shorten(value)} is no rank this hub takes (1 to {MAX_RANK})")
        return 1
    return value


def _alpha(source: components.Source, key: str, value: Any) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not number or not 0 < abs(value) <= MAX_ALPHA:
        message = f"{documents.shorten(value)} is no scaling this hub takes (above 0, at most {MAX_ALPHA:g})"
        source.config_problem("alpha", key, message)
        return 1.0
    return float(value)


def _flag(source: components.Source, key: str) -> bool:
    value = source.config.get(key) or False
    if not isinstance(value, bool):
        source.config_problem("type", key, f"must be true or false, not {documents.kind(value)}")
    return value is True


def _pattern(source: components.Source, key: str) -> dict[str, Any]:
    value = source.config.get(key) or {}
    if not isinstance(value, dict) or len(value) > MAX_NAMES:
        source.config_problem("type", key, f"must map at most {MAX_NAMES} module names to numbers")
        return {}
    patterns = [name for name in value if not _NAME.fullmatch(name)]
    if patterns:
        message = f"{documents.shorten(patterns[0])!r} is a pattern; this hub never evaluates a stranger's pattern"
        source.config_problem("pattern", key, message, "write the names of the modules")
    return {name: item for name, item in value.items() if name not in patterns}


def _names(source: components.Source, key: str) -> tuple[str, ...] | None:
    """A list of literal names; None where the key is absent, or a pattern (refused if it could run for ever)."""
    value = source.config.get(key)
    if value is None:
        return None
    if isinstance(value, str):
        if not _META.search(value):
            return (value,)
        _refuse_bomb(source, key, value)
        return None
    if not isinstance(value, list) or len(value) > MAX_NAMES or any(not isinstance(name, str) for name in value):
        source.config_problem("type", key, f"must be a list of at most {MAX_NAMES} module names")
        return ()
    wrong = [name for name in value if not _NAME.fullmatch(name)]
    if wrong:
        message = f"{documents.shorten(wrong[0])!r} is no module name"
        source.config_problem("pattern", key, message, "write names such as query, or attention.self.query")
    return tuple(name for name in value if name not in wrong)


def _targets(source: components.Source) -> tuple[tuple[str, ...] | None, bool]:
    if source.config.get("target_modules") == "all-linear":
        return None, True
    return _names(source, "target_modules"), False


def _refuse_bomb(source: components.Source, key: str, pattern: str) -> None:
    """A pattern is not evaluated here, but the file would be published to people whose PEFT does evaluate it."""
    if len(pattern) > 512 or sum(map(pattern.count, "*+{")) > MAX_REPEATS or _repeats_a_repeat(pattern):
        message = f"the pattern {documents.shorten(pattern)!r} could keep a program busy for ever"
        source.config_problem("pattern", key, message, "write a list of module names")
    else:
        source.notices.append(f"{key} is a pattern; it was not evaluated: the tensors say which modules are adapted")


def _repeats_a_repeat(pattern: str) -> bool:
    """Tell whether a repeated group holds a repetition or a choice: the known ways to exponential time."""
    opened: list[bool] = []
    text = re.sub(r"\\.", "_", pattern)
    text = re.sub(r"\[[^\]]*\]", "_", text)
    for at, char in enumerate(text):
        if char == "(":
            opened.append(False)
        elif char in "*+?{|" and opened:
            opened[-1] = True
        elif char == ")" and opened:
            inner = opened.pop()
            repeated = text[at + 1 : at + 2] in ("*", "+", "{")
            if inner and repeated:
                return True
            if opened and (inner or repeated):
                opened[-1] = True
    return False


def _layers(source: components.Source) -> frozenset[int] | None:
    _names(source, "layers_pattern")  # judged only: PEFT would evaluate a pattern
    value = source.config.get("layers_to_transform")
    if value is None or value == []:
        return None
    numbers = value if isinstance(value, list) else [value]
    if any(type(number) is not int or not 0 <= number < 100_000 for number in numbers):
        source.config_problem("type", "layers_to_transform", "must be a layer's number or a list of them")
        return None
    return frozenset(numbers)


def _saved(source: components.Source, task_type: Any) -> frozenset[str]:
    names = [base_model.strip_prefix(name, source.model_type) for name in _names(source, "modules_to_save") or ()]
    # PEFT adds these by itself, and keeps the name of the one that the model does not have
    return frozenset(names) | (frozenset({"classifier", "score"}) if task_type == "SEQ_CLS" else frozenset())
