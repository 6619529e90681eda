"""Profiles: what is counted, what decides nothing, and what it costs in memory."""

from __future__ import annotations

import json
import math
import random
import tracemalloc
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosstune.tasks import Example, Prompt
from crosstune.tasks.profile import EDGES, FEATURES, Text, jaccard, measure, profile, profile_of
from crosstune.tasks.profile.lengths import QUANTILES, described
from crosstune.tasks.profile.sketches import SIZE, Sketches

KEYS = (
    "version kind rows duplicates labels entropy majority skew lengths language answers sketches "
    "embedding"
).split()

VOCABULARY = [f"w{number}" for number in range(3_000)]


def made(count: int, *, seed: int = 0) -> Iterator[Text]:
    """Rows of different words, a third of them labelled `no`."""
    draw = random.Random(seed)
    for number in range(count):
        words = " ".join(draw.choices(VOCABULARY, k=6))
        name = f"{number // 1_000} {number % 1_000}"
        yield Text(f"{words} {name}", "no" if number % 3 == 0 else "yes", is_label=True)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Language is left out."""
    monkeypatch.setattr(measure, "language", lambda texts: dict.fromkeys(FEATURES, len(texts)))


@pytest.mark.usefixtures("quick")
def test_a_profile_is_json_of_the_named_keys() -> None:
    found = profile(made(30), tokens=([5] * 30, [1] * 30), embedding=(0.5, 1.5))
    assert list(found) == KEYS
    assert json.loads(json.dumps(found)) == found
    assert max(found["sketches"]["words"] + found["sketches"]["shingles"]) < 2**53
    assert found["embedding"] == [0.5, 1.5]
    units = {part: set(lengths) for part, lengths in found["lengths"].items()}
    assert units == {part: {"words", "characters", "tokens"} for part in ("prompt", "answer")}
    assert found["lengths"]["prompt"]["tokens"]["counts"][EDGES.index(5) + 1] == 30
    assert "tokens" not in profile(made(3))["lengths"]["prompt"]


@pytest.mark.usefixtures("quick")
def test_the_order_of_rows_decides_nothing() -> None:
    rows = [*made(5_000), *made(700)]
    mixed = random.Random(1).sample(rows, len(rows))
    assert profile(rows) == profile(mixed)
    assert profile(rows) != profile(rows[:-1])


@pytest.mark.parametrize(
    ("answers", "entropy", "majority", "skew"),
    [
        ("aabb", 1.0, 0.5, 0.0),
        ("aaab", 0.811278, 0.75, 0.188722),
        ("aabbccdd", 2.0, 0.25, 0.0),
        ("aaaaabcd", 1.548795, 0.625, 0.225603),
        ("aaaa", 0.0, 1.0, None),
    ],
)
@pytest.mark.usefixtures("quick")
def test_balance(answers: str, entropy: float, majority: float, skew: float | None) -> None:
    found = profile([Text(str(n), a, True) for n, a in enumerate(answers)], kind="choice")
    assert found["entropy"] == pytest.approx(entropy, abs=1e-6)
    assert found["majority"] == majority
    assert found["skew"] == (None if skew is None else pytest.approx(skew, abs=1e-6))
    assert found["labels"] == {a: answers.count(a) for a in sorted({*answers})}


@pytest.mark.parametrize(
    ("labels", "is_label", "kind", "expected"),
    [
        ([str(n % 200) for n in range(400)], True, None, "choice"),
        ([str(n % 201) for n in range(500)], True, None, "text"),
        ([str(n % 100) for n in range(199)], True, None, "text"),
        (["a"] * 10, True, "text", "text"),
        (["a"] * 10, False, None, "text"),
    ],
)
@pytest.mark.usefixtures("quick")
def test_few_labels_that_come_again_are_classes(
    labels: list[str], is_label: bool, kind: Any, expected: str
) -> None:
    found = profile([Text("x", label, is_label) for label in labels], kind=kind)
    assert found["kind"] == expected
    assert (found["labels"] is not None) == (expected == "choice")


@pytest.mark.usefixtures("quick")
def test_rows_without_labels_have_answers_but_no_classes() -> None:
    rows = [Text("x", "A long answer", False)] * 3 + [Text("y", "yes", True)] * 2
    found = profile(rows, kind="choice")
    assert found["labels"] is found["entropy"] is found["majority"] is found["skew"] is None
    assert found["answers"] == ["a long answer", "yes"]
    assert profile([*rows, rows[-1]], kind="choice")["labels"] == {"yes": 3}


@pytest.mark.usefixtures("quick")
def test_answers_are_few_short_and_in_lower_case() -> None:
    rows = [Text("x", f"Answer {n} " + "y" * 200) for n in range(300)]
    found = profile([*rows, Text("x", "NO"), Text("x", "no")], kind="text")["answers"]
    assert len(found) == 200
    assert found[0] == "no"
    assert {len(answer) for answer in found[1:]} == {100}
    assert all(answer == answer.lower() for answer in found)


@pytest.mark.usefixtures("quick")
def test_duplicates_repeat_both_the_prompt_and_the_answer() -> None:
    rows = [Text("a", "b"), Text("a", "b"), Text("a", "c"), Text("ab", ""), Text("a", "b")]
    assert profile(rows)["duplicates"] == 2


def test_no_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="no rows"):
        profile([])


@given(st.lists(st.integers(0, 100_000), min_size=1, max_size=60))
def test_lengths_are_those_of_numpy(lengths: list[int]) -> None:
    found = described({length: lengths.count(length) for length in lengths})
    assert [found[name] for name in QUANTILES] == pytest.approx(
        np.quantile(lengths, [*QUANTILES.values()])
    )
    assert found["mean"] == pytest.approx(np.mean(lengths))
    assert found["sd"] == pytest.approx(np.std(lengths), abs=1e-6)
    assert (found["min"], found["max"]) == (min(lengths), max(lengths))
    inside = np.histogram(lengths, [-1, *EDGES, math.inf])[0]
    assert found["counts"] == inside.tolist()
    assert len(found["counts"]) == len(EDGES) + 1


def test_edges_are_whole_rising_and_about_evenly_spaced_on_a_log_scale() -> None:
    assert EDGES[0] == 1
    assert EDGES[-1] == 65_536
    steps = np.diff(np.log2(EDGES))
    assert (steps > 0).all()
    assert steps[EDGES.index(11) :] == pytest.approx(0.25, abs=0.06)


def sketch(texts: Sequence[str]) -> Sketches:
    made = Sketches()
    made.add(texts)
    return made


@pytest.mark.parametrize("shared", [0, 2_000, 10_000, 18_000, 20_000])
def test_sketches_estimate_what_sets_share(shared: int) -> None:
    words = [f"word{n}" for n in range(40_000 - shared)]
    one, other = words[:20_000], words[20_000 - shared :]
    truth = shared / len(words)
    bound = 4 * math.sqrt(truth * (1 - truth) / SIZE) + 1e-9
    found = jaccard(*(sketch([" ".join(part)]).described()["words"] for part in (one, other)))
    assert found == pytest.approx(truth, abs=bound)
    # Runs of five words: all but the four that cross the border are shared.
    runs = [sketch([" ".join(part)]).described()["shingles"] for part in (one, other)]
    both = max(shared - 4, 0)
    truth = both / (2 * (20_000 - 4) - both)
    assert jaccard(*runs) == pytest.approx(truth, abs=4 * math.sqrt(truth / SIZE) + 1e-9)


def test_small_sets_are_compared_exactly() -> None:
    a, b = sketch(["One two three four five six", "one"]), sketch(["two three four five six; ten"])
    assert len(a.words) == 6
    assert len(a.shingles) == 3  # two runs, and the text that is too short for one
    assert jaccard(a.described()["words"], b.described()["words"]) == 5 / 7
    assert jaccard(a.described()["shingles"], b.described()["shingles"]) == 1 / 4
    assert jaccard([], a.described()["words"]) == 0


def test_shingles_know_the_order_of_words_and_stay_within_a_text() -> None:
    def runs(*texts: str) -> set[int]:
        return {*sketch(texts).described()["shingles"]}

    assert runs("a b c d e").isdisjoint(runs("e d c b a"))
    assert runs("a b c d e", "f g h i j") == runs("a b c d e") | runs("f g h i j")
    assert runs("") == runs("…") == set()


@pytest.mark.usefixtures("quick")
def test_memory_hardly_grows_with_rows() -> None:
    profile(made(2_000))  # what is made once
    peaks = []
    for count in (6_000, 30_000):
        tracemalloc.start()
        profile(made(count))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 2.5 * peaks[0]
    assert (peaks[1] - peaks[0]) / 24_000 < 30  # bytes a row


@pytest.mark.usefixtures("quick")
def test_language_reads_so_many_different_prompts_and_no_more() -> None:
    assert profile(made(1_500))["language"]["mtld"] == 1_500
    assert profile([*made(700), *made(700)])["language"]["mtld"] == 700
    assert profile(made(3_000))["language"]["mtld"] == 2_000


def example(name: str, choices: tuple[str, ...], right: str) -> Example:
    label = choices.index(right) if choices else None
    return Example(name, f"Is it {name}?", choices, label, (right, "another"))


def prompts_of(examples: Sequence[Example]) -> list[Prompt]:
    return [Prompt(e.id, (), e.context, (), f" {e.references[0]}") for e in examples]


@pytest.mark.usefixtures("quick")
def test_examples_are_profiled_by_question_and_first_right_answer() -> None:
    examples = [
        example("a", ("yes", "no"), "yes"),
        example("b", ("no", "yes"), "yes"),
        example("c", ("yes", "no"), "no"),
    ]
    found = profile_of(examples, prompts_of(examples), kind="choice", tokens=([4] * 3, [1] * 3))
    assert found["labels"] == {"yes": 2, "no": 1}
    assert found["lengths"]["prompt"]["characters"]["mean"] == len("Is it a?")
    assert found["lengths"]["answer"]["characters"]["max"] == 3
    assert found["lengths"]["prompt"]["tokens"]["mean"] == 4
    direct = profile([Text(e.context, e.references[0], True) for e in examples], kind="choice")
    del found["lengths"]["prompt"]["tokens"], found["lengths"]["answer"]["tokens"]
    assert found == direct


@pytest.mark.usefixtures("quick")
def test_rows_that_offer_choices_of_their_own_have_no_classes() -> None:
    own = [example(str(n), (f"left {n}", f"right {n}"), f"left {n}") for n in range(4)]
    assert profile_of(own, prompts_of(own), kind="choice")["labels"] is None
    text = [example(str(n), (), "so") for n in range(4)]
    found = profile_of(text, prompts_of(text), kind="text")
    assert found["labels"] is None
    assert found["answers"] == ["so"]


def test_examples_prompts_and_tokens_of_other_rows_are_refused() -> None:
    examples = [example("a", (), "so"), example("b", (), "so")]
    prompts = prompts_of(examples)
    for wrong in (prompts[:1], prompts[::-1]):
        with pytest.raises(ValueError, match="not of the same rows"):
            profile_of(examples, wrong, kind="text")
    with pytest.raises(ValueError, match="not of the same rows"):
        profile_of(examples, prompts, kind="text", tokens=([1, 1], [1]))
