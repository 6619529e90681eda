"""Records ROUGE-L of made-up sentences as two other packages compute it, for test_paper.py.

Run once, from the checkout, with rouge 1.0.1, torchmetrics 1.9.0 and nltk installed:
python tests/reference/make_rouge_l.py

torchmetrics lower-cases, takes runs of a-z and 0-9 as words and does not stem: the same design as
rouge-score, another implementation. `rouge` differs by design: it splits at spaces and full stops
only, keeps case and punctuation, counts a word once however often it stands, and adds 1e-8 to the
denominator. So it is given lower-case words alone, and only pairs in which no word stands twice.
"""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

WORDS = (
    "the a film police man's well-known 2,000 U.S. Café naïve joy? (quiet) end. one-off 3.5 £40m "
    "who what will do next running runs ran said -- don't \N{EN DASH} Ω ... new\nline tab\there"
).split(" ")
VERSIONS = {"rouge": "1.0.1", "torchmetrics": "1.9.0"}


def sentence(draw: random.Random) -> str:
    words = [draw.choice(WORDS) for _ in range(draw.randrange(0, 18))]
    return " ".join(draw.choice([word, word.capitalize(), word.upper()]) for word in words)


def changed(text: str, draw: random.Random) -> str:
    """The same words, some left out, some added, some moved."""
    words = [word for word in text.split(" ") if draw.random() < 0.8]
    for _ in range(draw.randrange(4)):
        words.insert(draw.randrange(len(words) + 1), draw.choice(WORDS))
    if draw.random() < 0.3:
        draw.shuffle(words)
    return " ".join(words)


def main() -> None:
    from rouge import Rouge  # type: ignore[import-not-found]
    from torchmetrics.functional.text.rouge import rouge_score  # type: ignore[import-not-found]

    draw = random.Random(0)
    rows: list[dict[str, Any]] = []
    for _ in range(120):
        reference = sentence(draw)
        answer = changed(reference, draw) if draw.random() < 0.8 else sentence(draw)
        found = rouge_score(answer, reference, rouge_keys="rougeL", use_stemmer=False)
        row: dict[str, Any] = {"answer": answer, "reference": reference}
        row["torchmetrics"] = round(float(found["rougeL_fmeasure"]), 6)
        words = [re.findall("[a-z0-9]+", text.lower()) for text in (answer, reference)]
        if all(words) and all(len(set(found)) == len(found) for found in words):
            said, right = (" ".join(found) for found in words)
            row["rouge"] = round(
                Rouge(metrics=["rouge-l"]).get_scores(said, right)[0]["rouge-l"]["f"], 6
            )
        rows.append(row)
    told = {"versions": VERSIONS, "rows": rows}
    path = Path(__file__).with_name("rouge_l.json")
    path.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
