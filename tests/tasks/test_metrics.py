"""Metrics of text: 1 for the truth, within [0, 1], and equal to what others publish."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crosstune.tasks import METRICS
from crosstune.tasks.metrics import exact_match, f1, numeric_match, rouge_l

words = st.text(st.sampled_from("ab the, 1.-$"), max_size=30)


@settings(deadline=None, max_examples=50)
@given(words, st.lists(words, min_size=1, max_size=3))
def test_every_metric_stays_in_its_range_and_is_best_over_references(
    answer: str, references: list[str]
) -> None:
    for name in METRICS.names():
        metric = METRICS[name]
        best = metric(answer, references)
        assert 0 <= best <= 1
        assert best == max(metric(answer, [one]) for one in references)
        assert metric(answer, list(reversed(references))) == best


@settings(deadline=None)
@given(st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=0, max_value=10**9))
def test_a_number_is_found_however_it_is_written(number: object) -> None:
    plain = str(number)
    grouped = f"{number:,}"
    assert numeric_match(f"so it is ${grouped}.", [f"#### {plain}"]) == 1
    assert numeric_match(f"7 and -{grouped} km", [f"x = -{plain}"]) == 1
    assert numeric_match(f"{grouped} + 1 = {grouped}1", [plain]) == (
        1 if plain + "1" == plain else 0
    )


@pytest.mark.parametrize(
    ("answer", "reference", "equal"),
    [
        ("10-3", "3", True),
        ("(10)-3", "3", True),
        ("x[1]-3", "3", True),
        ("10 -3", "-3", True),
        ("-$5", "-5", True),
        ("\N{MINUS SIGN}5", "-5", True),
        ("+5", "5.0", True),
        ("1,2,3", "3", True),
        ("1,234", "1234", True),
        ("12,34", "34", True),
        (".5", "0.5", True),
        ("page 12.", "12", True),
        ("v1.2", "1.2", True),
        ("no number", "none", False),
        ("7", "no number", False),
        ("7 or 8", "7", False),
    ],
)
def test_which_number_is_last(answer: str, reference: str, equal: bool) -> None:
    assert numeric_match(answer, [reference]) == equal


def test_exact_match_is_exact_unless_told_what_to_ignore() -> None:
    assert exact_match("Paris", ["paris"]) == 0
    assert exact_match("Paris", ["paris"], ignore_case=True) == 1
    assert exact_match("Paris!", ["Paris"], ignore_punctuation=True) == 1
    assert exact_match("Paris 7", ["Paris "], ignore_numbers=True) == 1
    assert exact_match("the Paris", ["Paris"], regexes_to_ignore=["^the "]) == 1
    assert exact_match(" Paris", ["Paris"]) == 0


def test_f1_counts_words_as_often_as_they_stand() -> None:
    assert f1("a cat, a cat", ["the cat"]) == pytest.approx(2 / 3)
    assert f1("", ["the"]) == 1
    assert f1("x", ["the"]) == 0


def test_rouge_l_is_the_longest_common_subsequence() -> None:
    # Lin (2004), section 3.1, with beta = 1: LCS of 3 of 4 words, and of 2 of 4.
    reference = ["police killed the gunman"]
    assert rouge_l("police kill the gunman", reference) == pytest.approx(3 / 4)
    assert rouge_l("the gunman kill police", reference) == pytest.approx(2 / 4)
