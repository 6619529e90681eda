"""Features of language: other libraries' numbers, ranges, and what is not measured."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from crosstune.tasks.profile import FEATURES, grammar, hdd, mtld
from crosstune.tasks.profile.language import _WORD, _syllables, language
from tasks.profile.make_references import PASSAGE, WORDS

REFERENCES = json.loads((Path(__file__).parent / "references.json").read_text("utf-8"))
PARSED = {*grammar.CLASSES.values(), "subordination", "passive", "dependency_distance"}
NOT_SHARES = "mtld reading_ease sentence_length word_length word_frequency dependency_distance"


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    grammar._parser.cache_clear()
    yield
    grammar._parser.cache_clear()


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra is not installed."""
    monkeypatch.setitem(sys.modules, "spacy", None)
    monkeypatch.setitem(sys.modules, "wordfreq", None)


@pytest.mark.parametrize(
    ("name", "words"), [("passage", _WORD.findall(PASSAGE.lower())), ("words", WORDS)]
)
def test_diversity_is_what_another_library_says(name: str, words: list[str]) -> None:
    expected = REFERENCES[name]
    assert len(words) == expected["words"]
    assert mtld(words) == pytest.approx(expected["mtld"], rel=1e-9)
    assert hdd(words) == pytest.approx(expected["hdd"], rel=1e-9)


def test_hdd_is_the_mean_over_all_draws() -> None:
    words = [*"aaabbc"] + [str(n) for n in range(38)]  # 44 words: 946 ways to draw 42
    shares = [len({*drawn}) / 42 for drawn in combinations(words, 42)]
    assert hdd(words) == pytest.approx(np.mean(shares))
    assert hdd(words[:41]) is None


def test_mtld_of_nothing_and_of_words_that_never_repeat() -> None:
    assert mtld([]) is None
    assert mtld([str(n) for n in range(50)]) == 50


def test_syllables_are_nearly_those_of_a_pronouncing_dictionary() -> None:
    found = sum(map(_syllables, _WORD.findall(PASSAGE.lower())))
    assert found == pytest.approx(REFERENCES["passage"]["syllables"], rel=0.02)


@pytest.mark.usefixtures("bare")
def test_reading_ease_is_the_formula_of_flesch() -> None:
    found = language(["The cat sat on the mat. A table was there."])["reading_ease"]
    assert found == pytest.approx(206.835 - 1.015 * 10 / 2 - 84.6 * 11 / 10)


@pytest.mark.usefixtures("bare")
def test_without_the_extra_its_features_are_not_known() -> None:
    found = language([PASSAGE])
    assert list(found) == list(FEATURES)
    assert {name for name, value in found.items() if value is None} == PARSED | {"word_frequency"}


def test_a_parser_without_its_model_is_no_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("spacy")
    monkeypatch.setattr(grammar, "MODEL", "no_such_model")
    assert grammar.grammar([PASSAGE]) == {}


@pytest.mark.usefixtures("bare")
def test_counted_rates() -> None:
    found = language(["I don't know, nor can't I not. It's 3.5, 1,000 or 7?\nno end"])
    assert found["numerals"] == pytest.approx(3 / 14)
    assert found["negation"] == pytest.approx(5 / 14)
    assert found["questions"] == pytest.approx(1 / 3)
    assert found["sentence_length"] == pytest.approx(14 / 3)
    assert language(["one, two"])["punctuation"] == pytest.approx(1 / 7)
    assert language(["(a)?! b"])["punctuation"] == pytest.approx(4 / 6)


@pytest.mark.usefixtures("bare")
def test_what_repeats_itself_is_compressed() -> None:
    repeated, other = language(["so it goes "] * 200), language([PASSAGE])
    assert repeated["compression"] < 0.05 < other["compression"]  # type: ignore[operator]


@pytest.mark.parametrize("texts", [[], [""], ["…", " \n "]])
def test_nothing_to_read_is_not_known(texts: list[str]) -> None:
    assert set(language(texts).values()) == {None}


@pytest.mark.parametrize("texts", [["7"], ["Yes"], ["a\x00b"], ["你好。"], ["¿Qué?", "12 + 7 ="]])
def test_few_words_of_any_script_are_read(texts: list[str]) -> None:
    assert language(texts)["word_length"]


def test_parsed_rates() -> None:
    pytest.importorskip("spacy")
    pytest.importorskip("wordfreq")
    plain, twisted = "The dog sees the cat.", "The cat was seen by dogs because they slept."
    found = language([plain])
    assert found["nouns"] == found["names"] + 2 / 5  # type: ignore[operator]
    assert found["verbs"] == 1 / 5
    assert found["passive"] == found["subordination"] == 0
    assert found["dependency_distance"] == pytest.approx((1 + 1 + 1 + 2) / 4)
    found = language([twisted])
    assert found["passive"] == found["subordination"] == 1
    assert found["pronouns"] == pytest.approx(1 / 9)
    common, rare = language(["the of and"]), language(["quorum parsec gneiss"])
    assert common["word_frequency"] > 7 > 4 > rare["word_frequency"]  # type: ignore[operator]


def test_features_are_within_their_ranges_and_few() -> None:
    pytest.importorskip("spacy")
    pytest.importorskip("wordfreq")
    found = language([PASSAGE, "Was it not 5?"])
    assert None not in found.values()
    assert len(found) <= 25
    assert set(found) == set(FEATURES) > PARSED
    for name in set(FEATURES) - {*NOT_SHARES.split(), "subordination"}:
        assert 0 <= found[name] <= 1, name  # type: ignore[operator]
    assert 0 < found["word_frequency"] < 8  # type: ignore[operator]
