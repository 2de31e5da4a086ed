"""PEFT's adapter_config.json, judged key by key. What is served of it: `peft_rebuilt`.

No pattern of a user's is ever evaluated. What changes the base model, allocates by a number nobody checked, or asks
for code by name is refused; what only matters in training is set aside.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from hub.spec import base_model, components, documents, families, tasks
from hub.spec.methods.layout import Knob, Layout

MAX_NUMBER = 1 << 20
MAX_RANK = 1024
MAX_PROMPT = 8192
MAX_ALPHA = 1e5
MAX_NAMES = 20_000
MAX_PARAMETERS = 256
"""Names in target_parameters: each is held against every module. Real files name two or three."""
MAX_REPEATS = 4
"""Repetitions in a pattern: each more takes a reader's time to another power."""
TASKS = ("SEQ_CLS", "FEATURE_EXTRACTION", "TOKEN_CLS", "QUESTION_ANS", "CAUSAL_LM", "SEQ_2_SEQ_LM")
_JUDGED = {task.peft for task in tasks.TASKS.values()}
RUN_TASKS = (None, *(name for name in TASKS if name in _JUDGED or name == "FEATURE_EXTRACTION"))
_NAME = re.compile(r"[A-Za-z0-9_.\-]{1,200}")
_META = re.compile(r"[\\*+?\[\](){}|^$]")
_OF_MODULES = re.compile("modules|layers|pattern")
"""How keys are called whose texts PEFT holds against module names."""
_CHOOSING = ("target_modules", "exclude_modules", "layers_pattern", "feedforward_modules", "modules_to_save", "target_parameters",
             "trainable_token_indices")  # fmt: skip
"""Keys whose texts choose modules or parameters."""
# starts from noise: loading such a file leaves the base alone
_HARMLESS_INIT = (True, False, None, "true", "false", "True", "False", "gaussian", "orthogonal", "eva", "mica")
_INIT_HINT = "convert it: save_pretrained(..., path_initial_model_for_weight_conversion=...) writes a plain LoRA"
_ALPHA_OR_NOT = frozenset({"deft", "supertuning"})
"""Methods whose alpha may be null: nothing is scaled."""
# key -> what it is: run by PEFT for a worker, in LoRA, and nowhere else
_BY_LIBRARY: dict[str, str] = {
    "target_parameters": "LoRA on parameters (target_parameters)",
    "alora_invocation_tokens": "aLoRA (alora_invocation_tokens)",
}
# key -> what it is: run where the method has it, and nowhere else
_OF_SOME: dict[str, str] = {
    "use_dora": "DoRA",
    "lora_bias": "a bias in LoRA's own layers (lora_bias)",
    "trainable_token_indices": "rows of tokens (trainable_token_indices)",
    "fan_in_fan_out": "transposed layers (fan_in_fan_out)",
}
# key -> what it is: grows the base model, or a variant with other arithmetic on the same tensors
_NEVER: dict[str, str] = {
    "layer_replication": "layer_replication (it grows the base model)",
    "megatron_config": "Megatron models (megatron_config)",
    "use_qalora": "QA-LoRA",
    "use_bdlora": "BD-LoRA",
    "arrow_config": "Arrow routing (arrow_config)",
    "kasa_config": "KaSA (kasa_config)",
    "monteclora_config": "MonteCLoRA (monteclora_config)",
    "velora_config": "VeLoRA (velora_config)",
}
# what every configuration of PEFT 0.4 to 0.21 may hold, and of what is of no consequence once the adapter is trained
_READ = frozenset(
    {"target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "modules_to_save", "task_type",
     "bias"}
)  # fmt: skip
_SET_ASIDE = frozenset(
    {"peft_type", "peft_version", "inference_mode", "revision", "base_model_name_or_path", "auto_mapping"}
)

COMMON = frozenset(_READ | _SET_ASIDE | set(_NEVER) | set(_BY_LIBRARY) | set(_OF_SOME))
"""Keys that are judged for every method."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """The part of the configuration that says what the tensors are.

    `numbers` and `patterns` are by symbol of the layout. `targets` is a list of literal names, or None where the file names
    them by a pattern: then the tensors say. `on`: the features that are switched on, by key.
    """

    layout: Layout
    numbers: dict[str, int | None]
    patterns: dict[str, dict[str, int]]
    alpha: float
    rslora: bool
    alpha_pattern: dict[str, float]
    targets: frozenset[str] | None
    all_linear: bool
    excluded: frozenset[str] | None
    layers: frozenset[int] | None
    saved: frozenset[str]
    parameters: tuple[str, ...]
    bias: str
    task_type: str | None
    on: frozenset[str]
    tying: bool
    """Whether tables that are tied in the base model stay tied (`ensure_weight_tying`)."""

    def number(self, symbol: str, module: str) -> int | None:
        """Return the number that the configuration gives a symbol at a module (by its name in the file)."""
        pattern = self.patterns.get(symbol, {})
        return next((value for name, value in pattern.items() if matches(module, name)), self.numbers.get(symbol))

    def scale_of(self, module: str, rank: int) -> float:
        """Return the factor before B A x: alpha / r, or alpha / sqrt(r) with rank-stabilised scaling."""
        alpha = next((alpha for name, alpha in self.alpha_pattern.items() if matches(module, name)), self.alpha)
        return alpha / math.sqrt(rank) if self.rslora else alpha / rank

    def targeted(self, *paths: str) -> bool:
        """Tell whether a module (by its names in the file and in the body) is one the configuration names literally."""
        if self.targets is not None and not any(named(path, self.targets) for path in paths):
            return False
        if self.excluded and any(named(path, self.excluded) for path in paths):
            return False
        return self.layers is None or base_model.layer_of(paths[0]) in self.layers


def named(module: str, names: frozenset[str]) -> bool:
    """Tell whether one of these literal names means a module: the whole path, or its end after a dot (as PEFT does)."""
    while module not in names:
        _, dot, module = module.partition(".")
        if not dot:
            return False
    return True


def matches(module: str, name: str) -> bool:
    """Tell whether a literal name means a module; one that begins with ^ is the whole path."""
    return module == name.removeprefix("^") or (not name.startswith("^") and module.endswith(f".{name}"))


def read(source: components.Source, layout: Layout) -> Settings:
    """Judge the configuration; faults are collected, and a usable value stands in for each."""
    config = source.config
    _refuse_attacks(source)
    _refuse_bombs(source, layout)
    _judge_features(source, layout)
    _judge_keys(source, layout)
    _judge_lookups(source, layout)
    targets, all_linear = _targets(source)
    task_type = _task(source)
    return Settings(
        layout=layout,
        numbers={knob.symbol: _number(source, knob, knob.key, config.get(knob.key)) for knob in layout.knobs},
        patterns={knob.symbol: _numbers(source, knob) for knob in layout.knobs if knob.pattern},
        alpha=_alpha(source, *_alpha_key(layout, config)),
        rslora=_flag(source, "use_rslora"),
        alpha_pattern={
            name: _alpha(source, f"alpha_pattern.{name}", value)
            for name, value in _pattern(source, "alpha_pattern").items()
        },
        targets=targets,
        all_linear=all_linear,
        excluded=_set(_names(source, "exclude_modules")),
        layers=_layers(source),
        saved=_saved(source, task_type),
        parameters=_parameters(source),
        bias=_bias(source),
        task_type=task_type,
        on=frozenset(key for key in layout.keys if not says_nothing(config.get(key))),
        tying=_flag(source, "ensure_weight_tying"),
    )


def _refuse_attacks(source: components.Source) -> None:
    config = source.config
    init = config.get("init_lora_weights", True)
    if init not in _HARMLESS_INIT:
        message = f"{documents.shorten(init)!r} changes the base model's weights when it is loaded"
        source.config_problem("init", "init_lora_weights", message, _INIT_HINT)
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


def _judge_features(source: components.Source, layout: Layout) -> None:
    for key, what in _NEVER.items():
        if not says_nothing(source.config.get(key)):
            source.config_problem("unsupported", key, f"this hub does not run {what} yet")
    for key, what in {**_BY_LIBRARY, **_OF_SOME}.items():
        if says_nothing(source.config.get(key)) or (key in _OF_SOME and key in layout.keys):
            continue
        where = f"{source.config_path}: {key}"
        if key not in _BY_LIBRARY or layout.name != "lora":
            source.not_run("config.unsupported", where, f"this hub does not run {what} yet")
        elif key == "alora_invocation_tokens" and source.config.get("task_type") != "CAUSAL_LM":
            message = f"nobody runs {what} but for task_type CAUSAL_LM: PEFT looks for its tokens in no other model"
            source.not_run("config.unsupported", where, message)
        else:
            source.leave_to_library(what)


def _judge_keys(source: components.Source, layout: Layout) -> None:
    """Keys that nobody here knows: of no consequence where they say nothing, and refused where they do."""
    if not layout.checked:
        return  # a method known by name only: its keys are not known either
    for key in sorted(set(source.config) - known(layout)):
        value = source.config[key]
        if says_nothing(value):
            source.notices.append(
                f"the key {documents.shorten(key)} is not known here; it says nothing and was set aside"
            )
        else:  # a variant of a later PEFT may have the same tensors and other arithmetic
            message = f"is a key this hub does not know ({documents.shorten(value)}); what it changes cannot be run"
            source.config_problem("unsupported", documents.shorten(key), message, "remove it if it changes nothing")


def _judge_lookups(source: components.Source, layout: Layout) -> None:
    """Names and numbers by module that say nothing to a reader of the tensors, and are PEFT's to look up."""
    if "feedforward_modules" in layout.keys:
        _names(source, "feedforward_modules")
    for key in sorted(key for key in layout.keys if key.endswith("_pattern")):
        for name, value in _pattern(source, key).items():
            _alpha(source, f"{key}.{name}", value)


def says_nothing(value: Any) -> bool:
    """Tell whether a key might as well not be there: null, false, an empty text, list or object. A zero is a number: layer 0."""
    return value is None or value is False or (isinstance(value, str | list | dict) and not value)


def known(layout: Layout) -> frozenset[str]:
    """Return every key that a method's configuration may have."""
    knobs = {knob.key for knob in layout.knobs} | {knob.pattern for knob in layout.knobs if knob.pattern}
    return COMMON | layout.keys | layout.aside | knobs


def _task(source: components.Source) -> str | None:
    task = source.config.get("task_type")
    if task is not None and task not in TASKS:
        message = f"{documents.shorten(task)!r} is no task of PEFT"
        source.config_problem("task_type", "task_type", message, f"known are {', '.join(TASKS)}")
        return None
    if task not in RUN_TASKS:
        where = f"{source.config_path}: task_type"
        source.not_run(
            "config.task_type",
            where,
            f"this hub does not run {task} yet",
            f"it runs {', '.join(filter(None, RUN_TASKS))}",
        )
    return task


def _bias(source: components.Source) -> str:
    """Which biases of the base model the file brings anew: none, all, or those of the adapted modules (`lora_only`)."""
    value = source.config.get("bias")
    if value == "none" or says_nothing(value):
        return "none"
    if not isinstance(value, str) or (value != "all" and not re.fullmatch(r"[a-z0-9]{2,12}_only", value)):
        source.config_problem("bias", "bias", f"{documents.shorten(value)!r} is none of none, all and ..._only")
        return "none"
    return "all" if value == "all" else "adapted"


def _number(source: components.Source, knob: Knob, key: str, value: Any) -> int | None:
    """A size that the configuration gives; None where it gives none, or one that is refused."""
    is_rank = knob.symbol in ("r", "h") or knob.key == "r"
    most = MAX_RANK if is_rank else MAX_PROMPT if knob.key == "num_virtual_tokens" else MAX_NUMBER
    if value is None:
        return None if knob.default is None or knob.loose else knob.default
    least = 0 if knob.default == 0 or knob.loose else 1
    if type(value) is not int or not least <= value <= most:
        what = "rank" if knob.symbol == "r" else f"number for {knob.key}"
        source.config_problem(
            "rank", key, f"{documents.shorten(value)} is no {what} this hub takes ({least} to {most})"
        )
        return None  # the tensors' own, so that nothing else seems wrong
    return None if knob.loose else value


def _numbers(source: components.Source, knob: Knob) -> dict[str, int]:
    found = _pattern(source, knob.pattern)
    read = {name: _number(source, knob, f"{knob.pattern}.{name}", value) for name, value in found.items()}
    return {name: number for name, number in read.items() if number is not None}


def _alpha_key(layout: Layout, config: dict[str, Any]) -> tuple[str, Any]:
    key = "lora_alpha" if "lora_alpha" in layout.keys else "alpha"
    if layout.name in _ALPHA_OR_NOT and config.get(key) is None:
        return key, 8
    return key, config.get(key, 8) if key in layout.keys else 1.0


def _alpha(source: components.Source, key: str, value: Any) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not number or not 0 < abs(value) <= MAX_ALPHA:
        message = f"{documents.shorten(value)} is no scaling this hub takes (above 0, at most {MAX_ALPHA:g})"
        source.config_problem("alpha", key, message)
        return 1.0
    return float(value)


def _flag(source: components.Source, key: str) -> bool:
    value = source.config.get(key)
    if value is not None and not isinstance(value, bool):
        source.config_problem("type", key, f"must be true or false, not {documents.kind(value)}")
    return value is True


def _pattern(source: components.Source, key: str) -> dict[str, Any]:
    value = {} if source.config.get(key) is None else source.config[key]
    if not isinstance(value, dict) or len(value) > MAX_NAMES:
        source.config_problem("type", key, f"must map at most {MAX_NAMES} module names to numbers")
        return {}
    found = {_literal(name): item for name, item in value.items()}
    patterns = [name for name in value if _literal(name) is None]
    if patterns:
        message = f"{documents.shorten(patterns[0])!r} is a pattern; this hub never evaluates a stranger's pattern"
        source.config_problem("pattern", key, message, "write the names of the modules")
    return {name: item for name, item in found.items() if name is not None}


def _literal(pattern: str) -> str | None:
    """Return the literal name that a pattern means; None for others. Special may be escaped dots, ^ and $, and a leading
    `.*\\.`, which PEFT writes itself and which says what a name alone says."""
    text = pattern.removesuffix("$").removeprefix(r".*\.").replace(r"\.", ".")
    return text if _NAME.fullmatch(text.removeprefix("^")) else None


def _names(source: components.Source, key: str) -> tuple[str, ...] | None:
    """A list of literal names; None where the key is absent, or a pattern, which the tensors make good for."""
    value = source.config.get(key)
    if value is None:
        return None
    if isinstance(value, str):
        return None if is_pattern(value) else (value,)
    if not isinstance(value, list) or len(value) > MAX_NAMES or any(not isinstance(name, str) for name in value):
        source.config_problem("type", key, f"must be a list of at most {MAX_NAMES} module names")
        return ()
    wrong = [name for name in value if not _NAME.fullmatch(name)]
    if wrong:
        message = f"{documents.shorten(wrong[0])!r} is no module name"
        source.config_problem("pattern", key, message, "write names such as query, or attention.self.query")
    return tuple(name for name in value if name not in wrong)


def _parameters(source: components.Source) -> tuple[str, ...]:
    names = _names(source, "target_parameters") or ()
    if len(names) > MAX_PARAMETERS:
        message = f"names {len(names)} parameters; at most {MAX_PARAMETERS} are taken"
        source.config_problem("type", "target_parameters", message, "name them by the end of their path")
    return names[:MAX_PARAMETERS]


def names_of(value: Any) -> tuple[str, ...]:
    """Return the names in a value that was judged: a list of them, or a single one."""
    return (value,) if isinstance(value, str) else tuple(value or ())


def _set(names: Iterable[str] | None) -> frozenset[str] | None:
    return None if names is None else frozenset(names)


def _targets(source: components.Source) -> tuple[frozenset[str] | None, bool]:
    if source.config.get("target_modules") == "all-linear":
        return None, True
    return _set(_names(source, "target_modules")), False


def is_pattern(text: str) -> bool:
    """Tell whether a text is more than the literal name of a module."""
    return _META.search(text) is not None


def patterns(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return (key, text) of every pattern by which a configuration would choose modules or parameters. PEFT evaluates
    some of them whether or not anything is chosen then."""
    return [(key, text) for key in _CHOOSING for text in _texts(config.get(key)) if is_pattern(text)]


def _refuse_bombs(source: components.Source, layout: Layout) -> None:
    """Patterns in the files of a method that is known by name only: nobody here can write out what they mean, so they
    are published to people whose PEFT evaluates them. Those of all others are (see `peft_rebuilt`)."""
    for key, value in source.config.items() if not layout.checked else ():
        for text in _texts(value) if _OF_MODULES.search(key) else ():
            if is_pattern(text):
                _refuse_bomb(source, documents.shorten(key), text)


def _texts(value: Any) -> list[str]:
    """The texts of a value: itself, the items of a list, the keys of an object."""
    items = value if isinstance(value, list | dict) else [value]
    return [item for item in items if isinstance(item, str)]


def _refuse_bomb(source: components.Source, key: str, pattern: str) -> None:
    if len(pattern) > 512 or sum(map(pattern.count, "*+{")) > MAX_REPEATS or _repeats_a_repeat(pattern):
        message = f"the pattern {documents.shorten(pattern)!r} could keep a program busy for ever"
        source.config_problem("pattern", key, message, "write a list of module names")
    else:
        source.notices.append(f"{key} is a pattern; it was not evaluated")


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
    names = [families.canonical_path(name, source.model_type) for name in _names(source, "modules_to_save") or ()]
    # PEFT adds these by itself, and keeps the name of the one that the model does not have
    return frozenset(names) | (frozenset({"classifier", "score"}) if task_type == "SEQ_CLS" else frozenset())
