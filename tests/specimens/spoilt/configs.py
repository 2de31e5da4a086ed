"""Configurations that ask for what nobody may: code, memory, time, another base model."""

import json

from tests.specimens.spoilt.goods import LORAS, RECIPES
from tests.specimens.spoilt.kinds import Draft, Kind

PEFTS = tuple(name for name in RECIPES if name not in ("Houlsby", "Pfeiffer"))
SIZED = tuple(name for name in PEFTS if name not in ("IA3", "AdaLoRA"))
BOMBS = (
    "(([a-z.]+)+)+[0-9]!", "(a+)+$", "(.*a){25}", "^(([a-z])+.)+[A-Z]([a-z])+$", "(query|query|query)*!", "([^.]*)*\\.x", "((q|u)*)*!",
)  # fmt: skip
INITS = ("pissa", "olora", "corda", "loftq", "lora_ga", "pissa_niter_{}", "new_way_{}")
PATHS = (
    "../../etc/passwd",
    "/etc/passwd",
    "..\\..\\x",
    "~/.ssh/id_rsa",
    "file:///proc/self/environ",
    "http://169.254.169.254/latest",
)


def init(draft: Draft) -> tuple[str, ...]:
    name = draft.draw.choice(INITS).format(draft.draw.randint(1, 99))
    more = {"corda_config": {"cache_file": "/tmp/x.pt"}} if name == "corda" and draft.draw.random() < 0.5 else {}
    draft.config(init_lora_weights=name, **more)
    return (name, "init_lora_weights")


def replication(draft: Draft) -> tuple[str, ...]:
    spans = [sorted(draft.draw.sample(range(40), 2)) for _ in range(draft.draw.randint(1, 9))]
    draft.config(layer_replication=spans)
    return ("layer_replication",)


def bomb(draft: Draft) -> tuple[str, ...]:
    """A pattern that takes for ever to evaluate, wherever a library would evaluate one."""
    pattern = draft.draw.choice(BOMBS) * draft.draw.randint(1, 3)
    key = draft.draw.choice(("rank_pattern", "alpha_pattern", "target_modules", "exclude_modules", "modules_to_save"))
    if key.endswith("_pattern"):
        draft.config(**{key: {pattern: draft.draw.randint(1, 8)}})
    else:
        draft.config(**{key: [*(draft.good.config.get(key) or []), pattern]})
    return (key,)


def enormous(draft: Draft) -> tuple[str, ...]:
    """A size by which a library would allocate before it looks at the file."""
    keys = [
        key
        for key in ("r", "init_r", "n_frequency", "num_vectors", "vector_length", "oft_block_size")
        if key in draft.good.config
    ]
    key = draft.draw.choice(keys)
    value = draft.draw.choice((10**9, 2**31, 2**62, 2_000_000, -1, -(10**9), 1.5, True, "8"))
    if value == 2_000_000:
        value += draft.draw.randrange(1000)
    draft.config(**{key: value})
    return (key,)


def by_module(draft: Draft) -> tuple[str, ...]:
    known = draft.good.config["rank_pattern"]
    draft.config(rank_pattern=known | {draft.draw.choice(("value", "key", "dense")): draft.draw.randint(10**4, 10**10)})
    return ("rank_pattern",)


def alpha(draft: Draft) -> tuple[str, ...]:
    value = draft.draw.choice(
        (0, 0.0, -0.0, 10.0 ** draft.draw.randint(6, 300), -(10.0 ** draft.draw.randint(6, 300)), "8", True)
    )
    key = "alpha" if draft.good.method in ("LOHA", "LOKR") else "lora_alpha"
    draft.config(**{key: value})
    return (key,)


def scaling(draft: Draft) -> tuple[str, ...]:
    """Of a bottleneck: nothing, or far too much of it."""
    inner = draft.good.config["config"] | {
        "scaling": draft.draw.choice((0, -0.0, 10.0 ** draft.draw.randint(6, 300), "x", True))
    }
    draft.config(config=inner)
    return ("scaling",)


def code(draft: Draft) -> tuple[str, ...]:
    module = draft.draw.choice(
        ("os", "evil", "subprocess", "torch.hub", "__main__", "transformers.x;os", "sitecustomize")
    ) + draft.draw.choice(("", ".sub", ".a.b"))
    key, value = draft.draw.choice((
        ("megatron_core", module),
        ("auto_mapping", {"parent_library": module, "base_model_class": "X"}),
        ("auto_mapping", module),
    ))  # fmt: skip
    draft.config(**{key: value})
    return (key,)


def megatron(draft: Draft) -> tuple[str, ...]:
    draft.config(
        megatron_config={draft.draw.choice("abcdef"): draft.draw.randint(1, 99)}, megatron_core="megatron.core"
    )
    return ("megatron_config",)


def path(draft: Draft) -> tuple[str, ...]:
    """A path, or an address, where names of modules are due."""
    key = draft.draw.choice(("target_modules", "modules_to_save", "exclude_modules"))
    draft.config(
        **{key: [*(draft.good.config.get(key) or []), draft.draw.choice(PATHS) + "/x" * draft.draw.randint(0, 5)]}
    )
    return (key,)


def method(draft: Draft) -> tuple[str, ...]:
    name = draft.draw.choice(("NOVEL", "lora", "LoRA ", "", 7, ["LORA"], {"a": 1}, "PROMPT_LORA", None, "XLORA2"))
    draft.config(peft_type=name)
    return ("peft_type",)


def stranger(draft: Draft) -> tuple[str, ...]:
    """A key that nobody knows, and that says something: another arithmetic perhaps."""
    key = "use_" + "".join(draft.draw.choices("abcdefg", k=5))
    draft.config(**{key: draft.draw.choice((True, 3, "gated", [1], {"a": 1}))})
    return (key,)


def twice(draft: Draft) -> tuple[str, ...]:
    """One key twice: readers differ in which of them counts."""
    at = draft.folder / "adapter_config.json"
    key = draft.draw.choice([key for key in draft.good.config if draft.good.config[key] is not None])
    value = json.dumps(draft.draw.choice((draft.good.config[key], None, 1, "x")))
    spelt = json.dumps(key) if draft.draw.random() < 0.5 else '"' + "".join(f"\\u{ord(c):04x}" for c in key) + '"'
    at.write_text(at.read_text().rstrip()[:-1] + f", {spelt}: {value}}}")
    return (key,)


def no_number(draft: Draft) -> None:
    """Words for numbers that JSON does not have."""
    word = draft.draw.choice(("NaN", "Infinity", "-Infinity", "1e999", "-1e400"))
    at, key = draft.folder / "adapter_config.json", draft.draw.choice(("lora_alpha", "r", "lora_dropout"))
    at.write_text(json.dumps(draft.good.config | {key: "HERE"}).replace('"HERE"', word))


KINDS = (
    Kind("an initialisation that rewrites the base model", "config", "changes the base model's weights", init, LORAS),
    Kind("layers of the base model repeated", "config", "grows the base model", replication, LORAS),
    Kind("a pattern that never ends", "config", "is no module name|never evaluates a stranger's pattern", bomb, LORAS),
    Kind("a size of a thousand million", "config", "this hub takes", enormous, SIZED),
    Kind("a size of a thousand million for a module", "config", "this hub takes", by_module, LORAS),
    Kind(
        "a scaling of zero, or beyond all measure",
        "config",
        "no scaling this hub takes",
        alpha,
        (*LORAS, "LoHa", "LoKr", "AdaLoRA"),
    ),
    Kind(
        "a bottleneck's scaling of zero, or beyond all measure",
        "config",
        "must be a number above 0",
        scaling,
        ("Houlsby", "Pfeiffer"),
    ),
    Kind("code by name", "config", "names code to import", code, PEFTS),
    Kind("a Megatron model", "config", "Megatron", megatron, LORAS),
    Kind("paths for names", "config", "is no module name", path, PEFTS),
    Kind("an unknown method", "config", "is no method this hub knows|cannot tell which method", method, PEFTS),
    Kind("an unknown key", "config", "a key this hub does not know", stranger, PEFTS),
    Kind("a key of the configuration twice", "config", "is there twice", twice, PEFTS),
    Kind("a number that JSON does not have", "config", "is not a JSON number|is too large", no_number, LORAS),
)
