"""Numbers that say where others belong, and lie outside of it."""

import json

from hub.spec.words import counted
from tests.engine import makers
from tests.specimens.spoilt.goods import RECIPES
from tests.specimens.spoilt.kinds import Draft, Kind

ROWS = 164
"""Tokens in the vocabulary of the tiny base model."""


def positions(draft: Draft) -> tuple[str, ...]:
    """SHiRA's tables of positions."""
    tensors = draft.load()
    key = draft.pick(lambda key, tensor: "shira_indices" in key)
    tensors[key] = tensors[key].long()
    row = draft.draw.randrange(tensors[key].shape[0])
    most = 64
    tensors[key][row, draft.draw.randrange(tensors[key].shape[1])] = draft.draw.choice(
        (-1, -(2**31), most, 1000, 2**31, 2**40)
    )
    draft.save(tensors)
    return ()


def tokens(draft: Draft) -> tuple[str, ...]:
    """Rows for tokens that the base model does not have."""
    far = draft.draw.choice((ROWS, ROWS + draft.draw.randint(1, 999), 2**31, 10**12, 2**62))
    places = [*draft.draw.sample(range(ROWS), 2), far]
    draft.draw.shuffle(places)
    draft.config(trainable_token_indices={"word_embeddings": places})
    return (f"names token {far}",)


def negative(draft: Draft) -> tuple[str, ...]:
    """Tokens counted from the end, or that are no numbers."""
    places = [
        *draft.draw.sample(range(ROWS), 2),
        draft.draw.choice((-1, -draft.draw.randint(2, 10**9), 1.5, "5", None, True)),
    ]
    draft.draw.shuffle(places)
    draft.config(trainable_token_indices={"word_embeddings": places})
    return ("trainable_token_indices",)


def added(draft: Draft) -> tuple[str, ...]:
    """Tokens were added to the tokenizer, and the table that has grown with them was not saved along."""
    names = [f"<new_{draft.draw.randrange(10**6)}>" for _ in range(draft.draw.randint(1, 9))]
    places = {name: ROWS + place for place, name in enumerate(names)}
    if draft.draw.random() < 0.5:
        (draft.folder / "added_tokens.json").write_text(json.dumps(places))
    else:
        table = json.loads((makers.TINY / "tokenizer.json").read_text())
        table["added_tokens"] += [{"id": place, "content": name, "special": True} for name, place in places.items()]
        (draft.folder / "tokenizer.json").write_text(json.dumps(table))
    return (counted(len(places), "token"), names[0])


KINDS = (
    Kind("new tokens without rows", "tokenizer", "without a row in the table", added, tuple(RECIPES)),
    Kind("positions outside of the weight", "load", "it names place", positions, ("SHiRA",)),
    Kind("rows for tokens outside of the vocabulary", "shapes", "has 164 rows", tokens, ("LoRA with rows of tokens",)),
    Kind("rows for tokens that are none", "config", "token numbers", negative, ("LoRA with rows of tokens",)),
)
