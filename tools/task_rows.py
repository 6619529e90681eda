"""How facts become the rows of each embedded task; called by `make_tasks.py`.

Every builder plays the same trick against guessing: rows come in groups that share what a blind
guesser sees (the answers on offer, or the sentence that is judged), and within a group every
answer is right equally often.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle
from typing import Any

import task_facts as facts
import task_words as words
from task_draw import Draw, Group, builds, each_place

SAMPLES = {"ask", "box"}  # stand solved in the prompts of past_tense and plural


def alternating(draw: Draw, rated: list[tuple[str, str]]) -> tuple[list[str], list[str]]:
    """The (negative, positive) words of this split, each in random order."""
    own = [pair for pair in draw.shuffled(rated) if draw.owns("word:" + facts.root(pair[0]))]
    negative = [word for word, sign in own if sign == "negative"]
    return negative, [word for word, sign in own if sign == "positive"]


def word_facts(*used: str) -> list[str]:
    return sorted({"word:" + facts.root(word) for word in used})


@builds("word_sentiment")
def word_sentiment(draw: Draw) -> Iterator[Group]:
    for pair in zip(*alternating(draw, facts.rated_words()), strict=False):
        yield [{"word": w, "label": n, "fact": word_facts(w)} for n, w in enumerate(pair)]


@builds("review_sentiment")
def review_sentiment(draw: Draw) -> Iterator[Group]:
    signs = alternating(draw, facts.adjectives())
    wordings = [
        "I went to this {place} last week. The {one} was {x} and the {two} was {y}.",
        "We both found the {one} {x}, and the {two} was {y} too.",
        "My sister called the {place} {x}, and to me the {one} was {y}.",
        "Everyone had told me the {place} was {other}, but the {one} was {x} and the {two} {y}.",
        "It is not {other} at all: the {one} is {x}. A {place} to tell others about.",
        "Some people think this {place} is {other}. I disagree, the {one} was {x}.",
    ]
    while True:
        place = draw.rng.choice(list(words.REVIEWED))
        one, two = draw.rng.sample(words.REVIEWED[place].split(", "), 2)
        wording = draw.rng.choice(wordings)
        group = []
        for label in (0, 1):
            x, y = draw.rng.sample(signs[label], 2)
            other = draw.rng.choice(signs[1 - label])
            text = wording.format(place=place, one=one, two=two, x=x, y=y, other=other)
            used = [word for word in (x, y, other) if word in text]
            group.append({"text": text, "label": label, "fact": word_facts(*used)})
        yield group


@builds("aspect_sentiment")
def aspect_sentiment(draw: Draw) -> Iterator[Group]:
    negative, positive = alternating(draw, facts.adjectives())
    wordings = [
        "The {one} was {x}, but the {two} was {y}.",
        "Although the {one} was {x}, the {two} was {y}.",
        "The {place} had a few sides: {x} was the {one}, {y} was the {two}.",
        "I found the {one} {x} and the {two} {y}.",
    ]
    while True:
        place = draw.rng.choice(list(words.REVIEWED))
        one, two = draw.rng.sample(words.REVIEWED[place].split(", "), 2)
        pair = [draw.rng.choice(negative), draw.rng.choice(positive)]
        x, y = draw.shuffled(pair)
        text = draw.rng.choice(wordings).format(place=place, one=one, two=two, x=x, y=y)
        yield [
            {"text": text, "aspect": aspect, "label": int(w in positive), "fact": word_facts(x, y)}
            for aspect, w in ((one, x), (two, y))
        ]


@builds("kind_entailment")
def kind_entailment(draw: Draw) -> Iterator[Group]:
    names, kinds = draw.mine("name", words.NAMES), draw.mine("kind", words.KINDS)
    acts = ["saw", "see"], ["bought", "buy"], ["drew", "draw"], ["found", "find"], ["took", "take"]
    # hypothesis ← premises from which it follows (0), may or may not follow (1), cannot be (2)
    forms = [
        ("{n} {did} {x}.", "{n} {did} {x} and {y}.",
         "{n} {did} {kind}.", "{n} did not {do} {kind}."),
        ("{n} {did} {kind}.", "{n} {did} {x}.", "{n} {did} {y}.", "{n} {did} nothing at all."),
        ("{n} did not {do} {kind}.", "{n} did not {do} {kind} or {other}.",
         "{n} did not {do} {x}.", "{n} {did} {x}."),
        ("{n} did not {do} {x}.", "{n} did not {do} {kind}.", "{n} {did} {kind}.",
         "{n} {did} {y} and {x}."),
    ]  # fmt: skip
    while True:
        for hypothesis, *premises in forms:
            kind, other = draw.rng.sample(kinds, 2)
            did, do = draw.rng.choice(acts)
            x = draw.rng.choice(words.KINDS[kind].split(", "))
            y = draw.rng.choice(words.KINDS[other].split(", "))
            parts = {"n": draw.rng.choice(names), "did": did, "do": do, "kind": kind}
            parts |= {"other": other, "x": x, "y": y}
            yield [
                {
                    "premise": premise.format(**parts),
                    "hypothesis": hypothesis.format(**parts),
                    "label": label,
                    "fact": [f"kind:{kind}", f"kind:{other}", f"name:{parts['n']}"],
                }
                for label, premise in enumerate(premises)
            ]


@builds("role_paraphrase")
def role_paraphrase(draw: Draw) -> Iterator[Group]:
    past, done = dict(facts.past_tenses()), facts.participles()
    deeds = draw.mine("deed", [deed for deed in words.DEEDS if deed in past and deed in done])
    trades = draw.mine("trade", words.TRADES)
    forms = [
        "The {a} {did} the {b}.",
        "The {b} was {done} by the {a}.",
        "It was the {a} who {did} the {b}.",
        "The one who was {done} by the {a} is the {b}.",
    ]
    while True:
        deed, other = draw.rng.sample(deeds, 2)
        a, b, c = draw.rng.sample(trades, 3)
        first, second = draw.rng.sample(forms, 2)
        # What the other sentence may say instead: roles swapped (half), another doer or deed.
        wrong = draw.rng.choice([(b, a, deed), (b, a, deed), (c, b, deed), (a, b, other)])
        yield [
            {
                "first": first.format(a=x, b=y, did=past[act], done=done[act]),
                "second": second.format(a=a, b=b, did=past[deed], done=done[deed]),
                "label": label,
                "fact": [f"deed:{deed}", f"deed:{other}", *(f"trade:{t}" for t in (a, b, c))],
            }
            for label, (x, y, act) in enumerate([wrong, (a, b, deed)])
        ]


@builds("addition")
def addition(draw: Draw) -> Iterator[Group]:
    while True:
        fact, (a, b) = draw.numbers("sum", (2, 99), (2, 20))
        a, b = draw.shuffled((a, b))
        yield [{"question": f"{a} + {b}", "answer": str(a + b), "fact": [fact]}]


@builds("multiplication")
def multiplication(draw: Draw) -> Iterator[Group]:
    while True:
        fact, (a, b) = draw.numbers("product", (2, 12), (2, 60))
        a, b = draw.shuffled((a, b))
        yield [{"question": f"{a} * {b}", "answer": str(a * b), "fact": [fact]}]


@builds("number_words")
def number_words(draw: Draw) -> Iterator[Group]:
    for high in cycle((999, 9999)):
        fact, (number,) = draw.numbers("number", (101, high))
        yield [{"words": words.in_words(number), "answer": str(number), "fact": [fact]}]


@builds("number_comparison")
def number_comparison(draw: Draw) -> Iterator[Group]:
    for size in cycle((100, 1000, 10000)):
        fact, pair = draw.numbers("pair", (size // 20, size), (size // 10, size))
        if pair[0] != pair[1]:
            yield two_ways(pair, [str(n) for n in pair], [fact], ("smaller", "larger"))


def two_ways(pair: list[Any], shown: list[str], fact: list[str], asked: tuple[str, str]) -> Group:
    """Ask for the lower and for the higher of two: the same answers on offer, each right once."""
    low = int(pair[1] < pair[0])
    return [
        {"asked": word, "choices": shown, "label": label, "fact": fact}
        for word, label in zip(asked, (low, 1 - low), strict=True)
    ]


@builds("parity")
def parity(draw: Draw) -> Iterator[Group]:
    for digits in cycle((2, 3, 4)):
        group = []
        for label in (0, 1):
            fact, (half,) = draw.numbers("parity", (10 ** (digits - 1) // 2, 10**digits // 2 - 1))
            group.append({"number": str(2 * half + label), "label": label, "fact": [fact]})
        yield group


@builds("syllogism")
def syllogism(draw: Draw) -> Iterator[Group]:
    trades = [f"{trade}s" for trade in draw.mine("trade", words.TRADES)]
    # conclusion ← premises from which it does not follow (0), from which it follows (1)
    forms = [
        ("all {a} are {c}", "All {a} are {b}. All {c} are {b}.",
         "All {a} are {b}. All {b} are {c}."),
        ("no {a} are {c}", "No {a} are {b}. All {b} are {c}.", "All {a} are {b}. No {b} are {c}."),
        ("some {a} are {c}", "Some {a} are {b}. All {c} are {b}.",
         "Some {a} are {b}. All {b} are {c}."),
        ("some {a} are not {c}", "Some {a} are {b}. All {c} are {b}.",
         "Some {a} are {b}. No {b} are {c}."),
        ("some {a} are {c}", "Some {a} are {b}. Some {b} are {c}.",
         "All {b} are {a}. Some {b} are {c}."),
    ]  # fmt: skip
    while True:
        conclusion, *premises = draw.rng.choice(forms)
        parts = dict(zip("abc", draw.rng.sample(trades, 3), strict=True))
        used = [f"trade:{trade[:-1]}" for trade in parts.values()]
        flip = draw.rng.choice([1, -1])
        yield [
            {
                "premises": ". ".join(premise.rstrip(".").split(". ")[::flip]) + ".",
                "conclusion": conclusion.format(**parts),
                "label": label,
                "fact": used,
            }
            for label, premise in enumerate(text.format(**parts) for text in premises)
        ]


@builds("capital_of")
def capital_of(draw: Draw) -> Iterator[Group]:
    own = [land for land in facts.countries() if draw.owns(f"country:{land.code}")]
    wordings = [
        "What is the capital of {}?", "Which city is the capital of {}?",
        "The government of {} sits in which capital?", "Name the capital city of {}.",
    ]  # fmt: skip
    while True:
        four = draw.rng.sample(own, 4)
        wording = draw.rng.choice(wordings)
        orders = each_place(draw, [land.capital for land in four])
        used = [f"country:{land.code}" for land in four]
        yield [
            {
                "question": wording.format(with_article(land.name)),
                "choices": offered,
                "label": place,
                "fact": used,
            }
            for place, (land, offered) in enumerate(zip(four, orders, strict=True))
        ]


def with_article(name: str) -> str:
    plural = name.split()[0] in {"United", "Philippines", "Maldives", "Bahamas", "Comoros"}
    formal = plural or "Republic" in name or name in {"Gambia", "Solomon Islands"}
    return f"the {name}" if formal else name.replace("The ", "the ")


@builds("city_continent")
def city_continent(draw: Draw) -> Iterator[Group]:
    largest = {place: names[:220] for place, names in sorted(facts.cities().items())}
    own = [draw.mine("city", names) for names in largest.values()]
    for five in zip(*own, strict=False):
        yield [{"city": c, "label": n, "fact": [f"city:{c}"]} for n, c in enumerate(five)]


@builds("language_of_word")
def language_of_word(draw: Draw) -> Iterator[Group]:
    telling: list[list[tuple[str, str]]] = [[] for _ in facts.LANGUAGES]
    for key, names in facts.translations().items():
        for label, code in enumerate(facts.LANGUAGES):
            others = {name.lower() for other, name in names.items() if other != code}
            if draw.owns(key) and names[code].lower() not in others:
                telling[label].append((key, names[code]))
    for four in zip(*map(draw.shuffled, telling), strict=False):
        yield [
            {"word": name.capitalize(), "label": label, "fact": [key]}
            for label, (key, name) in enumerate(four)
        ]


@builds("name_translation")
def name_translation(draw: Draw) -> Iterator[Group]:
    tables = facts.translations()
    own = [key for key in tables if draw.owns(key) and not key.startswith("currencies")]
    while True:
        code = draw.rng.choice(list(facts.LANGUAGES))
        foreign = [key for key in own if tables[key]["en"].lower() != tables[key][code].lower()]
        four = draw.rng.sample(foreign, 4)
        names = [tables[key][code].capitalize() for key in four]
        extra = {"language": facts.LANGUAGES[code], "fact": four}
        asked = [{"english": tables[key]["en"]} for key in four]
        yield [
            row | {"choices": offered, "label": place} | extra
            for row, offered, place in zip(asked, each_place(draw, names), range(4), strict=True)
        ]


@builds("past_tense")
def past_tense(draw: Draw) -> Iterator[Group]:
    past = {verb: form for verb, form in facts.past_tenses() if verb not in SAMPLES}
    own = draw.mine("verb", past)
    # The irregular ones first, so that none is left out.
    for verb in sorted(own, key=lambda verb: past[verb].endswith("ed")):
        yield [{"verb": verb, "answer": past[verb], "fact": [f"verb:{verb}"]}]


@builds("plural")
def plural(draw: Draw) -> Iterator[Group]:
    many = {noun: form for noun, form in facts.plurals() if noun not in SAMPLES}
    own = draw.mine("noun", many)
    # Those that do more than take an s first, up to what there is.
    for noun in sorted(own, key=lambda noun: many[noun] == noun + "s"):
        yield [{"noun": noun, "answer": many[noun], "fact": [f"noun:{noun}"]}]
