"""Classification heads, as PEFT and AdapterHub write them beside an adapter."""

from __future__ import annotations

import dataclasses
from typing import Literal

from hub.spec import components, families, tasks, tensors
from hub.spec.words import counted

# what a saved tensor is called in a BERT-like model -> its role
PEFT_LINEAR = {"classifier.weight": "weight", "classifier.bias": "bias"}
PEFT_MLP = {
    "classifier.dense.weight": "dense_weight", "classifier.dense.bias": "dense_bias",
    "classifier.out_proj.weight": "out_weight", "classifier.out_proj.bias": "out_bias",
}  # fmt: skip
PEFT_SPANS = {"qa_outputs.weight": "weight", "qa_outputs.bias": "bias"}
POOLER = {"pooler.dense.weight": "pooler_weight", "pooler.dense.bias": "pooler_bias"}
_LINEAR_ROLES = ("weight", "bias")
_MLP_ROLES = ("dense_weight", "dense_bias", "out_weight", "out_bias")


@dataclasses.dataclass(frozen=True)
class Form:
    """A head of transformers' models for a task, of all or of some families: saved tensor -> role, and how it computes.

    `also`: tensors of the base model's that a file may bring along. `modules`: what modules_to_save has to name.
    `token_types`: see `components.Head`.
    """

    kind: Literal["linear", "mlp"]
    pooling: Literal["pooler", "cls", "last", "tokens"]
    roles: dict[str, str]
    modules: tuple[str, ...] = ("classifier",)
    activation: str = "tanh"
    also: dict[str, str] = dataclasses.field(default_factory=dict)
    task: tasks.Task = tasks.TEXT_CLASSIFICATION
    token_types: bool = True


def _two(first: str, second: str) -> dict[str, str]:
    """The roles of a head of two layers by the names of their modules."""
    return {
        f"{module}.{leaf}": f"{role}_{leaf}"
        for module, role in ((first, "dense"), (second, "out"))
        for leaf in ("weight", "bias")
    }


FORMS: dict[str, Form] = {
    "score": Form("linear", "last", {"score.weight": "weight"}, ("score",)),
    "distilbert": Form("mlp", "cls", _two("pre_classifier", "classifier"), ("pre_classifier", "classifier"), "relu"),
    "roberta": Form("mlp", "cls", PEFT_MLP),
    "electra": Form("mlp", "cls", PEFT_MLP, activation="gelu"),
    "deberta": Form("mlp", "cls", _two("pooler.dense", "classifier"), ("pooler", "classifier"), "gelu"),
    "albert": Form(
        "linear", "pooler", PEFT_LINEAR, also={"pooler.weight": "pooler_weight", "pooler.bias": "pooler_bias"}
    ),
    "bert": Form("linear", "pooler", PEFT_LINEAR, also=POOLER),
}
"""`families.Family.head` -> the head. Where no base is known, the first one that has a saved tensor in it alone."""
TAGGER = Form("linear", "tokens", PEFT_LINEAR, task=tasks.TOKEN_CLASSIFICATION)
READER = Form("linear", "tokens", PEFT_SPANS, ("qa_outputs",), task=tasks.QUESTION_ANSWERING)
_TOLD_BY = {"score": "score.weight", "distilbert": "pre_classifier.weight", "roberta": "classifier.out_proj.weight"}


def form(source: components.Source, saved: dict[str, tensors.Tensor]) -> Form | None:
    """The head that a base model's family has; what the saved tensors look like where no base model is known."""
    if source.base is None:
        told = next((name for name, key in _TOLD_BY.items() if key in saved), "bert")
        return FORMS[told]
    found = FORMS.get(families.of(source.base.model_type).head)
    activation = source.base.config.get("pooler_hidden_act")
    if found is FORMS["deberta"] and isinstance(activation, str):
        return dataclasses.replace(found, activation=activation)
    return found


def build(
    source: components.Source,
    form: Form,
    found: dict[str, tensors.Tensor],
    labels: tuple[str, ...] | None,
    where: str,
    hint: str = "save the whole head",
) -> components.Head | None:
    """Return a head from its tensors by role; notes missing tensors, wrong shapes and label counts.

    One for texts that has a single output says a number, whatever it is called.
    """
    kind, pooling, task = form.kind, form.pooling, form.task
    wanted: tuple[str, ...] = _LINEAR_ROLES if kind == "linear" else _MLP_ROLES
    if pooling == "last":
        wanted = ("weight",)
    wanted += tuple(role for role in POOLER.values() if set(POOLER.values()) & set(found))
    missing = [role for role in wanted if role not in found]
    if missing:
        message = f"the head lacks {', '.join(missing)}"
        source.tensor_problem("head_missing", message, hint, check="head", where=where)
        return None
    out = found["weight" if kind == "linear" else "out_weight"]
    classes, width = out.shape if len(out.shape) == 2 else (0, 0)
    if task is tasks.TEXT_CLASSIFICATION and classes == 1:
        task = tasks.SENTENCE_SIMILARITY
    if task is tasks.QUESTION_ANSWERING:
        labels = None
        _check_spans(source, classes, where)
    _check_shapes(source, {role: found[role] for role in wanted}, classes, width, where)
    _check_classes(source, classes, labels, where)
    return components.Head(
        kind, pooling, where, {role: found[role].name for role in wanted}, classes, labels,
        {role: found[role].shape for role in wanted}, task.name, form.activation,
        form.token_types,
    )  # fmt: skip


def _check_shapes(
    source: components.Source, found: dict[str, tensors.Tensor], classes: int, width: int, where: str
) -> None:
    hidden = source.base.hidden_size if source.base else width
    square, row, vector = (hidden, hidden), (classes, hidden), (hidden,)
    expected = {
        "weight": row, "bias": (classes,), "out_weight": row, "out_bias": (classes,), "dense_weight": square,
        "dense_bias": vector, "pooler_weight": square, "pooler_bias": vector,
    }  # fmt: skip
    for role, tensor in found.items():
        check_dtype(source, tensor, where)
        if tensor.shape != expected[role]:
            shapes = f"has shape {components.shown(tensor.shape)}, but needs {components.shown(expected[role])}"
            base = f" on a base of hidden size {hidden}" if source.base else ""
            source.tensor_problem("head_shape", f"tensor {tensor.name!r} {shapes}{base}", check="head", where=where)


def _check_spans(source: components.Source, outputs: int, where: str) -> None:
    if outputs != 2:
        message = f"the head has {outputs} outputs; a span needs two, for its first and its last token"
        source.tensor_problem("head_shape", message, check="head", where=where)


def _check_classes(source: components.Source, classes: int, labels: tuple[str, ...] | None, where: str) -> None:
    if labels is not None and len(labels) != classes:
        message = (
            f"the head has {counted(classes, 'class')}, but {len(labels)} labels are named: {', '.join(labels[:10])}"
        )
        hint = "name one label per class, in the order of the head's rows"
        source.tensor_problem("head_labels", message, hint, check="head", where=where)


def check_dtype(source: components.Source, tensor: tensors.Tensor, where: str, *, integers: bool = False) -> None:
    """Note a problem where a tensor does not hold floating-point numbers this hub computes with (or, said so, integers)."""
    if integers and tensor.dtype in ("U8", "I8", "I16", "U16", "I32", "U32", "I64", "U64"):
        return
    if tensor.dtype not in ("F32", "F16", "BF16"):
        message = f"tensor {tensor.name!r} is {tensor.dtype}; adapters are float32, float16 or bfloat16"
        source.tensor_problem("dtype", message, "convert it before saving", where=where)
