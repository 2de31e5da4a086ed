"""Heads and whole modules in PEFT's files: what `modules_to_save` names, or PEFT adds for a task by itself."""

from __future__ import annotations

import dataclasses
import posixpath

from hub.spec import components, tensors
from hub.spec.methods import heads
from hub.spec.methods.peft_config import Settings

_HEADS = (
    "classifier",
    "score",
    "pre_classifier",
    "classification_head",
    "logits_proj",
    "qa_outputs",
    "lm_head",
    "proj_out",
)
_NOT_RUN = {
    "score": "a decoder's head (score)",
    "pre_classifier": "DistilBERT's head (pre_classifier)",
    "classification_head": "heads of encoder-decoders (classification_head)",
    "logits_proj": "XLNet's heads (logits_proj)",
    "classifier": "this classifier",
}
_CLASSIFIERS = ("classifier", "score", "classification_head", "logits_proj", "qa_outputs")
# what PEFT adds by itself for a task, whether or not the model has it
_ADDED = frozenset({"classifier", "score", "qa_outputs"})


def is_head(module: str) -> bool:
    """Tell whether a module answers a task rather than belonging to the base model's body."""
    return module.split(".")[0] in _HEADS


def declared(name: str, settings: Settings) -> bool:
    """Tell whether a tensor belongs to a module that the configuration says is saved whole."""
    module = name.rpartition(".")[0]
    if module in ("score", "pre_classifier"):
        return bool(settings.saved & {module, *_ADDED})
    paths = [module]
    while "." in paths[-1]:
        paths.append(paths[-1].rpartition(".")[0])
    return any(path.endswith(saved) for path in paths for saved in settings.saved)  # without a dot, as PEFT does


def read(
    source: components.Source, settings: Settings, saved: dict[str, tensors.Tensor]
) -> tuple[components.Head | None, dict[str, tensors.Tensor]]:
    """Return the head that runs here, and every other saved tensor by canonical name."""
    _check_saved(source, settings, saved)
    form = _form(source, settings, saved)
    if other := _other_task(source, settings, saved):
        message = f"{other!r} is a classifier, but task_type is {settings.task_type}"
        source.not_run("tensors.head_unsupported", source.weights, message, "set task_type SEQ_CLS", "head")
        return None, dict(saved)
    if foreign := _foreign(form, saved):
        place = f" on {source.model_type}" if source.model_type else ""
        message = f"this hub does not run {foreign}{place} yet"
        hint = "docs/validation.md tells which head each family has"
        source.not_run("tensors.head_unsupported", source.weights, message, hint, "head")
        return None, dict(saved)
    if form and set(form.roles) & set(saved) - set(heads.POOLER):
        found = {role: saved[key] for key, role in (form.roles | form.also).items() if key in saved}
        hint = f"save the whole head: modules_to_save={list(form.modules)}".replace("'", '"')
        head = heads.build(source, form, found, source.labels, source.weights, hint)
        used = set(head.tensors.values()) if head else set()
        return head, {key: tensor for key, tensor in saved.items() if tensor.name not in used}
    if settings.task_type in ("SEQ_CLS", "TOKEN_CLS", "QUESTION_ANS"):
        _tell_missing(source, settings, form)
    return None, dict(saved)


def _tell_missing(source: components.Source, settings: Settings, form: heads.Form | None) -> None:
    """Note that a file of a head's task_type holds none: whether its configuration names one decides what mends it."""
    said = source.config.get("modules_to_save")
    named = [name for name in form.modules if name in said] if form and isinstance(said, list) else []
    if form and named:
        lost = next(key for key in form.roles if key.startswith(f"{named[-1]}."))
        message = f"{posixpath.basename(source.config_path)} names {named[-1]}, but the file holds no {lost}"
        hint = "save the adapter again with save_pretrained"
    else:
        what = "qa_outputs" if settings.task_type == "QUESTION_ANS" else "classifier"
        message = f"task_type is {settings.task_type}, but the file holds no {what}"
        hint = f"name the model's head in modules_to_save ({', '.join(_CLASSIFIERS)}): one that is not saved is made up at random"
    source.tensor_problem("head_missing", message, hint, check="head")


def _form(source: components.Source, settings: Settings, saved: dict[str, tensors.Tensor]) -> heads.Form | None:
    """The head that a file of this task_type has on its base model; None for tasks whose heads are not run."""
    kind = settings.task_type
    if kind == "TOKEN_CLS":
        return heads.TAGGER
    if kind == "QUESTION_ANS":
        # PeftModelForQuestionAnswering takes token_type_ids and does not hand them on (peft 0.21): what was trained with it
        # has seen none.
        return dataclasses.replace(heads.READER, token_types=False)
    if kind is None and set(heads.PEFT_SPANS) & set(saved):
        return heads.READER
    return heads.form(source, saved) if kind in (None, "SEQ_CLS", "FEATURE_EXTRACTION") else None


def _other_task(source: components.Source, settings: Settings, saved: dict[str, tensors.Tensor]) -> str:
    """The name of a classifier's tensor that would run, were the task_type not that of a language model; empty where none is."""
    classifier = heads.form(source, saved) if settings.task_type == "CAUSAL_LM" else None
    held = sorted(set(classifier.roles) & set(saved) - set(heads.POOLER), reverse=True) if classifier else []
    return saved[held[0]].name if held else ""


def _foreign(form: heads.Form | None, saved: dict[str, tensors.Tensor]) -> str:
    """What people call a head among the saved tensors that is not the base model's family's; empty where there is none."""
    for name, what in _NOT_RUN.items():
        held = {key for key in saved if key.startswith(f"{name}.")}
        if held and not (form and held & set(form.roles)):
            return what
    return ""


def _check_saved(source: components.Source, settings: Settings, saved: dict[str, tensors.Tensor]) -> None:
    """Every module that modules_to_save names is there, but for the two that PEFT adds of itself."""
    for name in sorted(settings.saved - _ADDED):
        if not any(_within(key, name) for key in saved):
            message = f"modules_to_save names {name!r}, but its tensors are not in the file"
            source.tensor_problem("saved", message, "save the adapter again with it, or do not name it", check="head")


def _within(key: str, name: str) -> bool:
    return f"{name}." in key
