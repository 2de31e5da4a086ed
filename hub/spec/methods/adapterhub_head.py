"""The head beside an AdapterHub adapter: head_config.json + model_head.safetensors."""

from __future__ import annotations

from typing import Any, Literal

from hub.spec import components, documents, families, tasks, tensors
from hub.spec.methods import heads

_MODELS = {"SequenceClassification": None, "TokenClassification": heads.TAGGER, "QuestionAnswering": heads.READER}
_FAMILIES = ("Bert", "Roberta", "XLMRoberta", "Camembert")
STATIC = {f"{family}For{what}": form or heads.FORMS["bert" if family == "Bert" else "roberta"]
          for what, form in _MODELS.items() for family in _FAMILIES}  # fmt: skip
"""Classes of transformers whose heads are run."""
_FLEXIBLE = {"classification": tasks.TEXT_CLASSIFICATION, "tagging": tasks.TOKEN_CLASSIFICATION,
             "question_answering": tasks.QUESTION_ANSWERING}  # fmt: skip


def read(source: components.Source, name: str) -> components.Head | None:
    """Return the head, None where the adapter brings none; faults go to the source's collector."""
    if source.head_config is None and not source.head_weights:
        return None
    if source.head_config is None or not source.head_weights:
        there, missing = ("model_head.safetensors", "head_config.json")
        if source.head_config is not None:
            there, missing = missing, there
        message = f"{there} is there, but {missing} is not"
        source.tensor_problem("head_missing", message, "save adapter and head together", check="head", where=there)
        return None
    config = source.head_config.get("config")
    if config is None:
        return _static(source, source.head_config)
    if not isinstance(config, dict):
        _refuse(source, "type", "config", "must be an object, or null for the model's own head")
        return None
    return _flexible(source, source.head_config, config)


def _flexible(source: components.Source, outer: dict[str, Any], config: dict[str, Any]) -> components.Head | None:
    """A head of a flexible model: dropout, linear (, activation, dropout, linear)."""
    head_type = config.get("head_type")
    task = _FLEXIBLE.get(head_type) if isinstance(head_type, str) else None
    if task is None:
        hint = f"it runs {', '.join(_FLEXIBLE)}"
        _not_run(source, "config.head_type", f"{documents.shorten(head_type)} heads", hint)
        return None
    of_texts = task is tasks.TEXT_CLASSIFICATION
    name, layers = outer.get("name"), config.get("layers", 2 if of_texts else 1)
    if layers not in (1, 2):
        _not_run(source, "config.layers", f"heads of {documents.shorten(layers)} layers")
        return None
    if layers == 2 and config.get("activation_function", "tanh") != "tanh":
        _not_run(source, "config.activation_function", f"heads with {documents.shorten(config['activation_function'])}")
        return None
    if config.get("bias", True) is not True:
        _not_run(source, "config.bias", "heads without a bias")
        return None
    prefix = f"heads.{name}."
    roles = ({f"{prefix}1.weight": "weight", f"{prefix}1.bias": "bias"} if layers == 1 else
             {f"{prefix}1.weight": "dense_weight", f"{prefix}1.bias": "dense_bias",
              f"{prefix}4.weight": "out_weight", f"{prefix}4.bias": "out_bias"})  # fmt: skip
    labels = _labels(source, config.get("label2id"), "config.label2id")
    pooling: Literal["pooler", "cls", "tokens"] = "pooler" if config.get("use_pooler") else "cls"
    form = heads.Form("linear" if layers == 1 else "mlp", pooling if of_texts else "tokens", roles, task=task)
    return _build(source, form, labels, config.get("num_labels"))


def _static(source: components.Source, outer: dict[str, Any]) -> components.Head | None:
    """The head of a Hugging Face class."""
    model = outer.get("model_class")
    form = STATIC.get(model) if isinstance(model, str) else None
    if form is None:
        _not_run(source, "model_class", f"the head of {documents.shorten(model)}", f"it runs {', '.join(STATIC)}")
        return None
    return _build(source, form, _labels(source, outer.get("label2id"), "label2id"), outer.get("num_labels"))


def _build(
    source: components.Source,
    form: heads.Form,
    labels: tuple[str, ...] | None,
    declared: Any,
) -> components.Head | None:
    roles = form.roles if form.pooling == "tokens" else form.roles | heads.POOLER
    found: dict[str, tensors.Tensor] = {}
    refused: dict[tuple[str, str, str], list[str]] = {}
    for tensor in source.head_tensors:
        role = roles.get(families.canonical_path(tensor.name, source.model_type))
        if role is None or role in found:
            reason = (
                "unknown",
                "is not part of the head that head_config.json describes",
                "save the head again",
            )
            refused.setdefault(reason, []).append(tensor.name)
        else:
            found[role] = tensor
    components.refuse_by_reason(source, refused, source.head_weights)
    head = heads.build(source, form, found, source.labels or labels, source.head_weights)
    if head and declared is not None and declared != head.num_labels:
        message = f"says {documents.shorten(declared)} classes, the tensors have {head.num_labels}"
        _refuse(source, "num_labels", "num_labels", message)
    return head


def _not_run(source: components.Source, key: str, what: str, hint: str = "") -> None:
    where = f"{source.head_config_path}: {key}"
    source.not_run("head.unsupported", where, f"this hub does not run {what} yet", hint, "head")


def _labels(source: components.Source, value: Any, key: str) -> tuple[str, ...] | None:
    """Label names by index from label2id; the LABEL_0 of an untouched configuration say nothing."""
    if not value:
        return None
    indexes = list(value.values()) if isinstance(value, dict) else []
    if not indexes or any(type(index) is not int for index in indexes) or sorted(indexes) != list(range(len(indexes))):
        _refuse(source, "labels", key, "must map every label to an index from 0 on")
        return None
    names = tuple(sorted(value, key=lambda name: int(value[name])))
    return None if names == tuple(f"LABEL_{index}" for index in range(len(names))) else names


def _refuse(source: components.Source, code: str, key: str, message: str, hint: str = "") -> None:
    source.collector.problem(f"head.{code}", f"{source.head_config_path}: {key}", message, hint, "head")
