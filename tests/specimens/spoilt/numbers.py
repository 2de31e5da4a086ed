"""Numbers that no training leaves behind."""

import struct

import torch

from tests.specimens.spoilt.goods import RECIPES
from tests.specimens.spoilt.kinds import Draft, Kind

ALL = tuple(RECIPES)


def put(draft: Draft, value: float) -> tuple[str, ...]:
    """Into one place, or many, of one tensor of the adapter or of its head."""
    file = draft.draw.choice((draft.good.weights, draft.good.head))
    tensors = draft.load(file)
    key = draft.draw.choice(sorted(key for key, tensor in tensors.items() if tensor.is_floating_point()))
    flat = tensors[key].view(-1)
    count = draft.draw.choice((1, 1, 1, len(flat)))
    flat[torch.randperm(len(flat), generator=torch.Generator().manual_seed(draft.draw.getrandbits(40)))[:count]] = value
    draft.save(tensors, file)
    return (key,)


def not_a_number(draft: Draft) -> tuple[str, ...]:
    """NaN with whatever bits, quiet or signalling."""
    (value,) = struct.unpack(
        "<f", struct.pack("<I", 0x7F800001 + draft.draw.getrandbits(20) + (draft.draw.getrandbits(1) << 31))
    )
    return put(draft, value)


def infinite(draft: Draft) -> tuple[str, ...]:
    return put(draft, draft.draw.choice((float("inf"), float("-inf"))))


def huge(draft: Draft) -> tuple[str, ...]:
    return put(draft, draft.draw.choice((-1, 1)) * 10.0 ** draft.draw.uniform(4.1, 38))


def half_infinite(draft: Draft) -> tuple[str, ...]:
    """In half precision, where training overflows first."""
    key = draft.pick(lambda key, tensor: tensor.is_floating_point())
    tensors = draft.load()
    tensors[key] = tensors[key].to(draft.draw.choice((torch.float16, torch.bfloat16)))
    tensors[key].view(-1)[draft.draw.randrange(tensors[key].numel())] = draft.draw.choice((float("inf"), float("nan")))
    draft.save(tensors)
    return (key,)


KINDS = (
    Kind("NaN", "finite", "holds NaN or infinite values", not_a_number, ALL),
    Kind("infinity", "finite", "holds NaN or infinite values", infinite, ALL),
    Kind("NaN or infinity in half precision", "finite", "holds NaN or infinite values", half_infinite, ALL),
    Kind("numbers beyond all measure", "finite", "beyond 10000", huge, ALL),
)
