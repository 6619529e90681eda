"""Features of language, measured on a sample of texts; plain counting but for those of `grammar`.

A *word* is a run of letters, with an apostrophe inside, or a number. A *sentence* ends at `.`, `!`
or `?` before white space, or at the end of a line, and has a word; so abbreviations end one too.
A *syllable* is a run of vowel letters (a e i o u y), a final silent e left out (not that of
consonant + le), at least one a word. All texts count as one, so that longer ones weigh more: MTLD,
HD-D and compression read them one behind the other, in an order that is none.

What needs a package that is not installed, or more words than there are, is None, never 0. Only
HD-D, MTLD, the lengths, numerals, questions, punctuation and compression mean something beside
English, in scripts that part words.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from crosstune.tasks.profile.diversity import hdd, mtld
from crosstune.tasks.profile.grammar import MODEL, grammar

EXTRAS = ("spacy", MODEL, "wordfreq")
"""Packages without which some features are None."""
COMPRESSED = 2**18
"""Bytes of the sample, at most, that are compressed."""
_WORD = re.compile(r"\d+(?:[.,:/]\d+)*|[^\W\d_]+(?:['’][^\W\d_]+)*")
_SENTENCE = re.compile(r"(?<=[.!?])[\"'”’)\]]*\s+|\n+")
_VOWELS = re.compile(r"[aeiouy]+")
_SILENT = re.compile(r"(?:[^aeiouyl]|[aeiouy]l)e$")
_NOT = frozenset({"n't", "n’t"})
_NEGATIONS = frozenset(
    "no not never none nobody nothing nowhere neither nor without cannot".split()
)


class Feature(NamedTuple):
    """What a feature is, and where it is from."""

    meaning: str
    source: str = "counted"


_SPACY = "spaCy's parser (Universal Dependencies' word classes, ClearNLP's relations)"
FEATURES: Mapping[str, Feature] = {
    "mtld": Feature("words until they repeat: variety", "McCarthy and Jarvis (2010)"),
    "hdd": Feature("different words in 42 drawn, share: variety", "McCarthy and Jarvis (2007)"),
    "reading_ease": Feature("100 easy, 0 hard (English)", "Flesch (1948)"),
    "sentence_length": Feature("words a sentence"),
    "word_length": Feature("characters a word"),
    "negation": Feature("share of words: not, no, never, n't … (English)"),
    "numerals": Feature("share of words written in digits"),
    "questions": Feature("share of sentences that end with ?"),
    "punctuation": Feature("share of characters, spaces left out"),
    "compression": Feature("compressed bytes a byte: low repeats itself", "zlib, level 9"),
    "word_frequency": Feature("mean Zipf value: 3 rare, 6 common (English)", "wordfreq"),
    "nouns": Feature("share of words, names left out (English)", _SPACY),
    "names": Feature("share of words: proper nouns (English)", _SPACY),
    "verbs": Feature("share of words, auxiliaries among them (English)", _SPACY),
    "adjectives": Feature("share of words (English)", _SPACY),
    "adverbs": Feature("share of words (English)", _SPACY),
    "pronouns": Feature("share of words (English)", _SPACY),
    "prepositions": Feature("share of words (English)", _SPACY),
    "conjunctions": Feature("share of words (English)", _SPACY),
    "subordination": Feature("dependent clauses a sentence (English)", _SPACY),
    "passive": Feature("share of sentences with a passive (English)", _SPACY),
    "dependency_distance": Feature("words from a word to its head, mean (English)", "Liu (2008)"),
}


def language(texts: Sequence[str]) -> dict[str, float | None]:
    """All features of a sample of texts.

    0.2 s for 2,000 texts of 60 words; the parser takes 2 to 3 s more, and 2 s when first loaded.

    Args:
        texts: In an order that does not depend on what they say; the parser reads the first ones.

    Returns:
        A value for each of `FEATURES`; None where it could not be measured.

    Example:
        >>> found = language(["Is it not so? It is."])
        >>> found["sentence_length"], found["questions"], round(found["negation"], 3), found["hdd"]
        (3.0, 0.5, 0.167, None)
    """
    whole = "\n".join(texts)
    words = _WORD.findall(whole.lower())
    sentences = [part for part in _SENTENCE.split(whole) if _WORD.search(part)]
    found: dict[str, float | None] = dict.fromkeys(FEATURES)
    if words:
        bytes_ = whole.encode()[:COMPRESSED]
        counts = Counter(words)
        signs = sum(len(text) for text in re.findall(r"[^\w\s]+", whole))
        found |= {
            "mtld": mtld(words),
            "hdd": hdd(words),
            "reading_ease": _reading_ease(counts, sentences=len(sentences)),
            "sentence_length": len(words) / len(sentences),
            "word_length": sum(map(len, words)) / len(words),
            "negation": _share(counts, lambda word: word in _NEGATIONS or word[-3:] in _NOT),
            "numerals": _share(counts, lambda word: word[0].isdigit()),
            "questions": sum("?" in text[-3:] for text in sentences) / len(sentences),
            "punctuation": signs / len("".join(whole.split())),
            "compression": len(zlib.compress(bytes_, 9)) / len(bytes_),
            "word_frequency": _word_frequency(counts),
            **grammar(texts),
        }
    return found


def _share(counts: Counter[str], is_meant: Callable[[str], bool]) -> float:
    return sum(count for word, count in counts.items() if is_meant(word)) / counts.total()


def _reading_ease(counts: Counter[str], *, sentences: int) -> float | None:
    """Flesch's formula, of the words that are no numbers."""
    words = {word: count for word, count in counts.items() if not word[0].isdigit()}
    total = sum(words.values())
    if not total:
        return None
    syllables = sum(_syllables(word) * count for word, count in words.items())
    return 206.835 - 1.015 * total / sentences - 84.6 * syllables / total


def _syllables(word: str) -> int:
    """Syllables of an English word, by the rule above.

    Example:
        >>> [_syllables(word) for word in "make table the queue rhythm cared whale".split()]
        [1, 2, 1, 1, 1, 2, 1]
    """
    return max(1, len(_VOWELS.findall(word)) - bool(_SILENT.search(word)))


def _word_frequency(counts: Counter[str]) -> float | None:
    """Mean over words that are no numbers; a word that is not listed has 0."""
    try:
        from wordfreq import zipf_frequency
    except ImportError:
        return None
    words = {word: count for word, count in counts.items() if not word[0].isdigit()}
    listed = sum(zipf_frequency(word, "en") * count for word, count in words.items())
    return listed / sum(words.values()) if words else None
