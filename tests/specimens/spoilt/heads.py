"""Heads that are lost, fresh, of another size or for other labels; and labels in another order."""

import itertools
import json

import torch

from tests.specimens.spoilt import fitted
from tests.specimens.spoilt.goods import LORAS, RECIPES
from tests.specimens.spoilt.kinds import Draft, Kind, is_head

BOTTLENECKS = ("Houlsby", "Pfeiffer")
PEFTS = tuple(name for name in RECIPES if name not in BOTTLENECKS)
TWO = tuple(name for name in LORAS if RECIPES[name].labels == 2)
LUCKY = 0.05
FOREIGN = (
    "cat", "dog", "spam", "ham", "entailment", "contradiction", "yes", "no", "0 stars", "anger", "joy", "sports", "true", "false",
)  # fmt: skip


def lost(draft: Draft) -> tuple[str, ...]:
    """The head was not saved along."""
    tensors = draft.load()
    draft.save({key: stirred(draft, tensor) for key, tensor in tensors.items() if not is_head(key)})
    return ()


def halved(draft: Draft) -> tuple[str, ...]:
    """Half of the head was not saved along."""
    tensors = draft.load()
    gone = draft.draw.choice(sorted(key for key in tensors if is_head(key)))
    draft.save({key: tensor for key, tensor in tensors.items() if key != gone})
    return (gone.rpartition(".")[2],)


def stirred(draft: Draft, tensor: torch.Tensor) -> torch.Tensor:
    """Other numbers where there is no head to tell two variants apart, so that no two variants are the same."""
    return tensor * draft.draw.uniform(0.5, 2.0) if tensor.is_floating_point() else tensor


def left_behind(draft: Draft) -> None:
    """AdapterHub's head lies in files of its own, and they were not pushed."""
    draft.change(lambda key, tensor: stirred(draft, tensor))
    for name in ("head_config.json", "model_head.safetensors"):
        (draft.folder / name).unlink()


def fresh(draft: Draft) -> None:
    """A head as a library makes one: small random numbers, as if the trained one had never been saved.

    Now and then chance makes one that answers much as the lost one did, or just the opposite; such are drawn again.
    """
    tensors = draft.load()
    while True:
        spread = draft.draw.uniform(0.01, 0.5)
        for key, tensor in tensors.items():
            if is_head(key):
                tensors[key] = draft.noise(*tensor.shape) * spread * (not key.endswith("bias"))
        draft.save(tensors)
        if abs(fitted.knows(draft.folder, draft.files) - 0.5) < LUCKY:
            return


def resized(draft: Draft) -> None:
    """A head for another number of classes than the benchmark has."""
    classes = draft.draw.choice([count for count in (2, 3, 4, 5, 7, 20) if count != len(draft.good.labels)])
    tensors = draft.load()
    for key in [key for key in tensors if is_head(key)]:
        tensors[key] = draft.noise(classes, *tensors[key].shape[1:])
    draft.save(tensors)


def widened(draft: Draft) -> tuple[str, ...]:
    """A head from a base model of another width."""
    tensors = draft.load()
    key = next(key for key in tensors if is_head(key) and tensors[key].dim() == 2)
    width = draft.draw.choice([8, 16, 24, 31, 33, 48, 64, 128, 384, 768])
    tensors[key] = draft.noise(len(draft.good.labels), width)
    draft.save(tensors)
    return (key,)


def swapped(draft: Draft) -> None:
    """The head is whole, and its classes are called by each other's names."""
    names = draft.good.labels
    orders = [
        order for order in itertools.permutations(names) if all(a != b for a, b in zip(order, names, strict=True))
    ]
    order = draft.draw.choice(orders)
    if draft.draw.random() < 0.5:
        (draft.folder / "hub.json").write_text(json.dumps({"labels": list(order)}))
    else:
        (draft.folder / "config.json").write_text(json.dumps({"id2label": dict(enumerate(order))}))


def turned(draft: Draft) -> None:
    """Nobody names the labels, and the head's rows stand in another order than the benchmark's."""
    tensors = draft.load(draft.good.head)
    by = draft.draw.randrange(1, len(draft.good.labels))
    for key, tensor in tensors.items():
        if is_head(key) and tensor.shape[0] == len(draft.good.labels):
            tensors[key] = tensor.roll(by, 0)
    draft.save(tensors, draft.good.head)


def foreign(draft: Draft) -> tuple[str, ...]:
    """The classes are those of another benchmark."""
    names = draft.draw.sample(FOREIGN, len(draft.good.labels))
    kept = draft.draw.randrange(len(names))
    if draft.draw.random() < 0.5:
        names[kept] = draft.good.labels[kept]
    (draft.folder / "hub.json").write_text(json.dumps({"labels": names}))
    return tuple(names)


KINDS = (
    Kind("a head that was not saved", "head", "but the file holds no", lost, PEFTS),
    Kind("half a head", "head", "the head lacks", halved, PEFTS),
    Kind("a head that was left behind", "head", "brings no head", left_behind, BOTTLENECKS),
    Kind("a fresh head", "benchmark", "no gain over the", fresh, TWO),
    Kind("a head for another number of classes", "head", "classes, but the benchmark has", resized, PEFTS),
    Kind("a head of another width", "head", "needs", widened, PEFTS),
    Kind("labels by each other's names", "benchmark", "labels look swapped", swapped, PEFTS),
    Kind("labels in another order", "benchmark", "labels look swapped", turned, PEFTS),
    Kind("labels of another benchmark", "head", "the adapter's labels are", foreign, tuple(RECIPES)),
)
