"""Filters of an answer, and metrics: pure functions, registered by the names task files use.

A metric of text answers is a function `(answer, references, **options) -> float` in [0, 1], 1 for a
right answer, the best over references.
"""

from __future__ import annotations

import functools
import inspect
import re
import string
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import regex

from crosstune.errors import InputError
from crosstune.registry import Registry
from crosstune.tasks.templates import MAX_SECONDS, substituted

METRICS: Registry[Callable[..., float]] = Registry("metric")
CHOICE_METRICS: Registry[Callable[..., int]] = Registry("metric of choices")
"""Which choice is picked, given the summed log-likelihoods and the texts of all."""
FILTERS: Registry[Callable[..., str]] = Registry("filter")

_NUMBER = re.compile(
    r"(?:(?<![\w)\]])(?P<sign>[-+]))?[$€£]?"
    r"(?P<digits>[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])(?:\.[0-9]+)?|[0-9]+(?:\.[0-9]+)?|\.[0-9]+)"
)


@METRICS.add("exact_match")
def exact_match(
    answer: str,
    references: Sequence[str],
    *,
    ignore_case: bool = False,
    ignore_punctuation: bool = False,
    ignore_numbers: bool = False,
    regexes_to_ignore: Sequence[str] = (),
) -> float:
    """Whether the answer is one of the references, character by character; 0 or 1.

    The options remove, in this order, what the patterns match, case, ASCII punctuation and ASCII
    digits from both sides, as lm-evaluation-harness does.

    Example:
        >>> exact_match("Paris.", ["paris"], ignore_case=True, ignore_punctuation=True)
        1.0
    """
    removed = (string.punctuation if ignore_punctuation else "") + (
        string.digits if ignore_numbers else ""
    )

    patterns = [regexes_to_ignore] if isinstance(regexes_to_ignore, str) else regexes_to_ignore

    def reduced(text: str) -> str:
        for pattern in patterns:
            text = substituted(text, pattern, "")
        text = text.lower() if ignore_case else text
        return text.translate(str.maketrans("", "", removed))

    return float(reduced(answer) in {reduced(reference) for reference in references})


def last_number(text: str) -> Decimal | None:
    """The last decimal number of a text, None when there is none.

    Commas between groups of three digits are thousands separators. A sign counts when it does not
    follow a letter, digit or closing bracket ("10-3" ends in 3). A currency sign may stand before.

    Example:
        >>> last_number("She pays $1,234.50."), last_number("from 3 to -7"), last_number("10 - 3")
        (Decimal('1234.50'), Decimal('-7'), Decimal('3'))
    """
    found = list(_NUMBER.finditer(text.replace("\N{MINUS SIGN}", "-")))
    if not found:
        return None
    value = Decimal(found[-1]["digits"].replace(",", ""))
    return -value if found[-1]["sign"] == "-" else value


@METRICS.add("numeric_match")
def numeric_match(answer: str, references: Sequence[str]) -> float:
    """Whether the last number of the answer is the last number of a reference; 0 or 1.

    Compared as decimal values: 7, 7.0 and +7 are equal. A reference without a number matches
    nothing.

    Example:
        >>> numeric_match("2 + 3 = 5, so 1,005.", ["3 + 2 #### 1005"])
        1.0
    """
    number = last_number(answer)
    return float(number is not None and number in {last_number(text) for text in references})


@METRICS.add("f1")
def f1(answer: str, references: Sequence[str]) -> float:
    """Harmonic mean of precision and recall of the answer's words; 0 to 1.

    Words are counted after lower-casing and removing ASCII punctuation and the articles a, an,
    the. When either side has no words left, 1 if both have none, else 0.

    Source:
        Rajpurkar et al. (2016), SQuAD, section 6.1; empty answers as in SQuAD 2.0.

    Example:
        >>> f1("The red car", ["a car"])
        0.6666666666666666
    """
    return max(_word_f1(_words(answer), _words(reference)) for reference in references)


def _words(text: str) -> Counter[str]:
    bare = text.lower().translate(str.maketrans("", "", string.punctuation))
    return Counter(word for word in bare.split() if word not in {"a", "an", "the"})


def _word_f1(answer: Counter[str], reference: Counter[str]) -> float:
    if not answer or not reference:
        return float(answer == reference)
    return 2 * (answer & reference).total() / (answer.total() + reference.total())


@METRICS.add("rougeL")
def rouge_l(answer: str, references: Sequence[str]) -> float:
    """F-measure of the longest common subsequence of words, without stemming; 0 to 1.

    Sees only the letters a to z and digits: of no use for text in other scripts.

    Source:
        Lin (2004); the package rouge-score's `rougeL` (the whole text is one sequence).

    Example:
        >>> rouge_l("the cat sat", ["The cat lay down"])
        0.5714285714285715
    """
    scores = (_rouge_scorer().score(reference, answer)["rougeL"] for reference in references)
    return max(float(score.fmeasure) for score in scores)


@functools.cache
def _rouge_scorer() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rougeL"], use_stemmer=False)


@CHOICE_METRICS.add("acc")
def likeliest(sums: Sequence[float], _: Sequence[str] = ()) -> int:
    """Position of the largest number, the first of equal ones."""
    return max(range(len(sums)), key=sums.__getitem__)


@CHOICE_METRICS.add("acc_norm")
def _likeliest_by_character(sums: Sequence[float], choices: Sequence[str]) -> int:
    return likeliest([sum_ / len(text) for sum_, text in zip(sums, choices, strict=True)], choices)


FILTERS.add("take_first")(lambda text: text)  # of several sampled answers; a greedy one is alone
FILTERS.add("remove_whitespace")(str.strip)
FILTERS.add("lowercase")(str.lower)
FILTERS.add("uppercase")(str.upper)


@FILTERS.add("map")
def _map(text: str, *, mapping_dict: Mapping[str, str], default_value: str = "") -> str:
    return str(mapping_dict.get(text, default_value))


@FILTERS.add("regex")
def _regex(
    text: str,
    *,
    regex_pattern: str = r"#### (\-?[0-9\.\,]+)",
    group_select: int = 0,
    fallback: str = "[invalid]",
) -> str:
    """One match of a pattern, chosen by position; of several groups the first that is not empty."""
    found = regex.findall(regex_pattern, text, timeout=MAX_SECONDS)
    if not -len(found) <= group_select < len(found):
        return str(fallback)
    match = found[group_select]
    if isinstance(match, tuple):
        match = next((group for group in match if group), fallback)
    return str(match).strip()


def must_fit(
    known: Registry[Callable[..., Any]], name: str, options: Mapping[str, Any], *trial: object
) -> None:
    """Tries whether a filter or metric exists and can be used so.

    Args:
        known: Where to look for it.
        name: Its name.
        options: As the file gives them.
        trial: What it is called with beside them.

    Raises:
        ValueError: It does not; says why.
    """
    try:
        function = known[name]
        inspect.signature(function).bind(*trial, **options)
        if options:  # only they can be wrong; calling `rougeL` would load its package
            function(*trial, **options)
    except InputError as error:
        raise ValueError(str(error)) from error
    except (TypeError, AttributeError, regex.error) as error:
        rule = f"the {known.kind} '{name}' cannot be used with {dict(options)}: {error}"
        raise ValueError(rule) from error
