"""Entities in labels of words: which there are, and how many of them are right.

As conlleval and seqeval (in its default mode) count: labels are O, or B-, I-, E- or S- and a type. An entity starts at B or S,
where the type changes, or at I or E after what ends one; so an I that nothing precedes is one, too. It is right where an
entity of the truth has the same type, first and last word.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workers.statistics import Labels, Values

_STARTS = {"OI", "OE", "EI", "EE", "SI", "SE"}
"""Letters of two neighbours of one type, between which an entity starts; before B and S one always does."""
_ENDS = {"BO", "IO"}
"""The same for the end; before B and S, and after E and S, one always does."""


@dataclass(frozen=True)
class Tags:
    """Labels by class index, taken apart: a letter (O, B, I, E, S) and a type."""

    letters: tuple[str, ...]
    types: tuple[str, ...]

    @classmethod
    def of(cls, labels: Sequence[str]) -> "Tags":
        """Take labels apart; what has no letter and hyphen is O."""
        parts = [label.partition("-") if label[1:2] == "-" else ("O", "", "") for label in labels]
        return cls(tuple(letter for letter, _, _ in parts), tuple(kind for _, _, kind in parts))

    def tables(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Whether an entity starts, and whether one ends, between two labels: [before, after] each. The last index is none,
        as before a text's first word and after its last."""
        letters, types = [*self.letters, "O"], [*self.types, ""]
        size = len(letters)
        starts, ends = np.zeros((size, size), dtype=np.bool_), np.zeros((size, size), dtype=np.bool_)
        for i in range(size):
            for j in range(size):
                pair, other = letters[i] + letters[j], types[i] != types[j]
                starts[i, j] = letters[j] in "BS" or pair in _STARTS or (letters[j] != "O" and other)
                ends[i, j] = letters[i] != "O" and (letters[i] in "ES" or letters[j] in "BS" or pair in _ENDS or other)
        return starts, ends


@dataclass(frozen=True)
class Found:
    """Entities in order: the row, type (by its first class index), first and last word of each, all [entities]."""

    row: Labels
    kind: Labels
    first: Labels
    last: Labels


def find(labels: Labels, rows: Labels, tags: Tags) -> Found:
    """The entities of labels [words]; `rows` [words] says to which row a word belongs, in ascending order."""
    starts, ends = tags.tables()
    none, edge = len(tags.letters), np.flatnonzero(np.diff(rows, prepend=-1))
    before, after = np.empty_like(labels), np.empty_like(labels)
    before[1:], after[:-1] = labels[:-1], labels[1:]
    before[edge] = none
    after[np.append(edge[1:], len(labels)) - 1] = none
    first, last = np.flatnonzero(starts[before, labels]), np.flatnonzero(ends[labels, after])
    kinds = np.array([tags.types.index(kind) for kind in tags.types])
    return Found(rows[first], kinds[labels[first]], first, last)


def agreed(truth: Found, said: Found) -> NDArray[np.bool_]:
    """Which entities of `said` are right: [entities]."""
    known = {*zip(truth.kind.tolist(), truth.first.tolist(), truth.last.tolist(), strict=True)}
    told = zip(said.kind.tolist(), said.first.tolist(), said.last.tolist(), strict=True)
    return np.array([entity in known for entity in told], dtype=np.bool_)


def tally(truth: Labels, said: Labels, rows: Labels, tags: Tags) -> Values:
    """For each row entities right, of the truth, and said, and words right and in all: [rows, 5]."""
    true, told = find(truth, rows, tags), find(said, rows, tags)
    count = int(rows[-1]) + 1
    columns = (told.row[agreed(true, told)], true.row, told.row, rows[truth == said], rows)
    return np.stack([np.bincount(each, minlength=count) for each in columns], axis=1).astype(np.float64)


def f1(sums: Values) -> Values:
    """F1 of entities from sums [..., 5] of `tally`: 2 right / (of the truth + said); 0 where there is none at all."""
    below = sums[..., 1] + sums[..., 2]
    return np.divide(2 * sums[..., 0], below, out=np.zeros_like(below), where=below > 0)


def accuracy(sums: Values) -> Values:
    """The share of words answered right, from the same sums."""
    return np.asarray(sums[..., 3] / sums[..., 4])
