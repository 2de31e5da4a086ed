"""Exact match and F1 of answers, as the official scripts of SQuAD 1.1 and 2.0 compute them.

P. Rajpurkar et al., EMNLP 2016 and ACL 2018. Both scripts give the same numbers, but where an answer consists of articles
and punctuation only: version 2.0 leaves it out, and compares with nothing where none is left; so does this.
"""

import collections
import re
import string
from collections.abc import Sequence

import numpy as np

from workers.statistics import Values

_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalised(text: str) -> str:
    """Return a text in lower case, without punctuation, articles and superfluous spaces."""
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text.lower().translate(_PUNCTUATION)).split())


def tally(said: Sequence[str], right: Sequence[Sequence[str]]) -> Values:
    """For each question (exact match, F1, 1): the best over its right answers, or over none as an empty one; [rows, 3]."""
    found = np.ones((len(said), 3))
    for row, (answer, golds) in enumerate(zip(said, right, strict=True)):
        told = normalised(answer)
        known = [gold for gold in map(normalised, golds) if gold] or [""]
        found[row, 0] = max(float(told == gold) for gold in known)
        found[row, 1] = max(_f1(told.split(), gold.split()) for gold in known)
    return found


def _f1(said: Sequence[str], right: Sequence[str]) -> float:
    if not said or not right:
        return float(said == right)
    common = sum((collections.Counter(said) & collections.Counter(right)).values())
    return 2 * common / (len(said) + len(right))
