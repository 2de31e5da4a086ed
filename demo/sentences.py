#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write a small synthetic benchmark of review sentences whose sentiment is compositional.

Every sentence is made here from a hand-written grammar; no outside data is used.
A *frame* is a sentence with slots.  A slot is marked by how its word relates to the label:
``[+adj]`` takes an adjective of the label's own polarity, ``[-adj]`` one of the opposite
polarity.  So "the [item] was hardly [-adj]" reads "hardly awful" when the label is
positive and "hardly superb" when it is negative.  Each frame therefore serves both labels,
and both labels are drawn equally often from it: neither the frame nor the polarity of a
single word gives the label away; the two must be combined.

Split: half of the dev rows use only sentiment words that never occur in train (the
``held`` lists); the other half use the training words.  No dev sentence occurs in train.
Items, parts and frames are shared.

    python make_sentences.py --out DIR [--train 2000] [--dev 400] [--seed 0]

writes DIR/train.tsv and DIR/dev.tsv: header ``sentence<TAB>label``, 0 negative,
1 positive, UTF-8, LF, no quoting.  The same arguments give the same bytes.
"""

import argparse
import random
import re
from pathlib import Path

NEG, POS = 0, 1


def words(text):
    return text.split()


# Sentiment adjectives that suit any domain: {"seen" or "held": {label: words}}.
GENERAL = {
    "seen": {
        POS: words(
            "good great wonderful superb excellent lovely delightful impressive brilliant "
            "enjoyable satisfying outstanding terrific remarkable charming splendid"
        ),
        NEG: words(
            "bad poor awful terrible dreadful disappointing mediocre horrible unpleasant "
            "annoying miserable lousy frustrating worthless sloppy appalling"
        ),
    },
    "held": {
        POS: words("fantastic marvellous magnificent amazing pleasing"),
        NEG: words("atrocious abysmal pathetic horrendous unbearable"),
    },
}

# Sentiment nouns that can stand for anything under review.
NOUNS = {
    "seen": {
        POS: words("gem delight treat triumph success marvel joy winner"),
        NEG: words("bore mess disaster letdown failure disgrace nightmare dud"),
    },
    "held": {
        POS: words("masterpiece treasure wonder"),
        NEG: words("fiasco disappointment catastrophe"),
    },
}

# What a review can find, or miss, in a thing.
QUALITIES = {
    "seen": {
        POS: words("charm quality care style imagination warmth"),
        NEG: words("flaws faults blunders problems defects mistakes"),
    },
    "held": {
        POS: words("elegance polish excellence"),
        NEG: words("errors shortcomings failings"),
    },
}

# One entry a domain: what is reviewed, its parts, a neutral occasion, its own adjectives.
DOMAINS = {
    "film": {
        "item": words("film movie documentary sequel comedy drama thriller"),
        "part": words("plot acting dialogue ending soundtrack script"),
        "when": ["on friday night", "with my sister", "at the local cinema", "after work"],
        "seen": {
            POS: words("gripping moving funny clever touching witty"),
            NEG: words("dull boring predictable tedious lifeless clumsy"),
        },
        "held": {POS: words("captivating heartfelt"), NEG: words("dreary pointless")},
    },
    "food": {
        "item": words("pizza burger curry sandwich pasta meal pie"),
        "part": words("sauce crust filling bread salad topping"),
        "when": ["at lunch", "with two colleagues", "on a rainy tuesday", "by the harbour"],
        "seen": {
            POS: words("delicious tasty fresh juicy flavourful crisp"),
            NEG: words("bland stale greasy soggy tasteless burnt"),
        },
        "held": {POS: words("scrumptious appetising"), NEG: words("inedible mushy")},
    },
    "hotel": {
        "item": words("hotel hostel guesthouse resort inn motel lodge"),
        "part": words("room lobby bathroom lounge bedroom terrace"),
        "when": ["in early may", "with our children", "for three nights", "near the station"],
        "seen": {
            POS: words("cosy clean quiet comfortable spotless welcoming"),
            NEG: words("dirty noisy shabby cramped filthy damp"),
        },
        "held": {POS: words("immaculate luxurious"), NEG: words("dingy grimy")},
    },
    "gadget": {
        "item": words("phone tablet camera laptop speaker printer watch"),
        "part": words("screen battery keyboard case software charger"),
        "when": ["for a month", "on a long trip", "at the office", "every morning"],
        "seen": {
            POS: words("reliable sturdy fast handy precise responsive"),
            NEG: words("flimsy slow unreliable clunky buggy fragile"),
        },
        "held": {POS: words("robust intuitive"), NEG: words("sluggish defective")},
    },
}

# Families of frames, each with its share of the rows.  "a" inside a slot asks for a or an.
FRAMES = {
    "plain": (
        5,
        [
            "the [item] was [adv] [+adj]",
            "the [item] was [+adj] and the [part] was [+adj]",
            "[a +adj] , [+adj] [item]",
            "[a +adj] and [adv] [+adj] [item]",
            "[a +adj] , [+adj] [+noun]",
            "[a +adj] [+noun] of [a item]",
            "a truly [+adj] and [+adj] [+noun]",
            "this [item] is [a +noun] , with [a +adj] [part]",
            "the [part] is full of [+quality]",
        ],
    ),
    "strengthened": (
        2,
        [  # a negative word that does not turn the meaning round
            "the [item] could not have been more [+adj]",
            "never have i known a more [+adj] [item]",
            "no other [item] is as [+adj] as this one",
            "the [part] was never less than [+adj]",
            "not only was the [item] [+adj] , the [part] was [+adj] too",
            "without a doubt [a +adj] [item]",
        ],
    ),
    "negated": (
        4,
        [
            "the [item] was not [-adj]",
            "the [item] was not [-adj] at all",
            "the [part] was hardly [-adj]",
            "the [item] was anything but [-adj]",
            "the [part] is far from [-adj]",
            "nobody would call this [item] [-adj]",
            "nothing about the [item] was [-adj]",
            "i can not say that the [part] was [-adj]",
            "this is no [-noun] , and the [part] is never [-adj]",
            "there was nothing [-adj] about the [part]",
            "it is simply not true that the [item] is [-adj]",
        ],
    ),
    "lacking": (
        2,
        [
            "the [item] is free of [-quality]",
            "the [part] had no [-quality] whatsoever",
            "i looked for [-quality] in the [item] and found none",
            "the [item] has plenty of [+quality]",
            "we noticed [+quality] everywhere and no [-quality]",
        ],
    ),
    "double": (
        1,
        [
            "nobody could claim that the [item] was not [+adj]",
            "it would be wrong to say the [part] was not [+adj]",
            "i never found the [item] anything but [+adj]",
        ],
    ),
    "turning": (
        4,
        [
            "the [item] was [-adj] at first but [+adj] in the end",
            "the [item] was [+adj] in the end , though [-adj] at first",
            "it began as [a -noun] and ended as [a +noun]",
            "once [-adj] , the [item] is now [+adj]",
            "the [item] is [+adj] now , however [-adj] it used to be",
            "the [item] turned from [-adj] to [+adj]",
        ],
    ),
    "expected": (
        3,
        [
            "i expected [a -noun] and got [a +noun]",
            "i got [a +noun] where i had expected [a -noun]",
            "instead of [a -adj] [item] we were given [a +adj] one",
            "we were given [a +adj] [item] instead of [a -adj] one",
            "it was supposed to be [-adj] , but the [item] was [+adj]",
            "the [item] was [+adj] , not [-adj] as i had thought",
        ],
    ),
    "reported": (
        3,
        [
            "critics call the [item] [-adj] ; i found it [+adj]",
            "i found the [item] [+adj] , whatever those who call it [-adj] may say",
            "my friends were wrong to call the [item] [-adj]",
            "everyone is right to call the [item] [+adj]",
            "the advert promised [a -adj] [part] , the truth was [+adj]",
            "do not believe people who say the [part] is [-adj]",
        ],
    ),
    "compared": (
        2,
        [
            "the old [item] was [-adj] , this one is [+adj]",
            "this [item] is [+adj] , unlike the [-adj] one before it",
            "other places have [a -adj] [part] , here it is [+adj]",
        ],
    ),
}

ADVERBS = words("really truly very quite often thoroughly simply consistently")
OPENERS = ["", "", "", "", "honestly , ", "in my view , ", "all in all , ", "to be fair , "]
SLOT = re.compile(r"\[(a )?([+-]?)(\w+)\]")


def article(word):
    return "an" if word[0] in "aeiou" else "a"


def make_sentence(rng, label, frame, domain, split):
    """Fill one frame; ``split`` ("seen" or "held") picks the sentiment vocabulary."""
    dom, used = DOMAINS[domain], set()

    def pick(options):
        free = [w for w in options if w not in used] or options
        word = rng.choice(free)
        used.add(word)
        return word

    def fill(match):
        with_article, sign, kind = match.groups()
        polarity = label if sign == "+" else 1 - label
        if kind in ("item", "part"):
            word = pick(dom[kind])
        elif kind == "adv":
            word = pick(ADVERBS)
        elif kind == "adj":  # as often from the domain's own words as from the general ones
            word = pick((dom if rng.random() < 0.5 else GENERAL)[split][polarity])
        else:
            word = pick({"noun": NOUNS, "quality": QUALITIES}[kind][split][polarity])
        return f"{article(word)} {word}" if with_article else word

    body = SLOT.sub(fill, frame)
    tail = f" , {rng.choice(dom['when'])}" if rng.random() < 0.15 else ""
    return f"{rng.choice(OPENERS)}{body}{tail} ."


def make_rows(rng, count, split, taken):
    """``count`` new sentences, labels alternating; every sentence is added to ``taken``."""
    families = [name for name, (share, _) in FRAMES.items() for _ in range(share)]
    rows = []
    while len(rows) < count:
        label = len(rows) % 2
        frame = rng.choice(FRAMES[rng.choice(families)][1])
        sentence = make_sentence(rng, label, frame, rng.choice(sorted(DOMAINS)), split)
        if sentence not in taken:
            taken.add(sentence)
            rows.append((sentence, label))
    return rows


def make_splits(train=2000, dev=400, seed=0):
    """Return (train rows, dev rows); the first half of dev has held-out words, before shuffling."""
    rng, taken = random.Random(seed), set()
    train_rows = make_rows(rng, train, "seen", taken)
    dev_rows = make_rows(rng, dev // 2, "held", taken)
    dev_rows += make_rows(rng, dev - dev // 2, "seen", taken)
    rng.shuffle(train_rows)
    rng.shuffle(dev_rows)
    return train_rows, dev_rows


def write_tsv(path, rows):
    with open(path, "w", encoding="utf-8", newline="\n") as out:
        out.write("sentence\tlabel\n")
        out.writelines(f"{sentence}\t{label}\n" for sentence, label in rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--train", type=int, default=2000)
    parser.add_argument("--dev", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for name, rows in zip(("train", "dev"), make_splits(args.train, args.dev, args.seed), strict=False):
        write_tsv(args.out / f"{name}.tsv", rows)
        print(f"{name}.tsv: {len(rows)} rows, {sum(label for _, label in rows)} positive")


if __name__ == "__main__":
    main()
