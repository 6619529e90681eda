"""Records prompts and outcomes of lm-evaluation-harness, for test_rendering.py.

Run once with lm-eval 0.4.13 installed: python tests/tasks/make_lm_eval_prompts.py
"""

from __future__ import annotations

import copy
import itertools
import json
import random
import tempfile
from pathlib import Path
from typing import Any

COLOURS = ["red", "green", "blue"]
QUESTIONS = ["q", "{{q}}", "Q: {{ q.strip() }}\nA:", "{{text}}\n"]
TARGETS = ["a", "{{a}}", "name", "{{name}}", "{{n}}"]
CHOICES: list[Any] = ["options", COLOURS, {"x": "red", "y": "green", "z": "blue"}, "{{options}}"]
TEXTS = ["name", "{{name}}", "answers", "{{answers}}", "n", "{{q}}#### {{a}}"]
OPTIONAL = {
    "description": ["Do it.\n\n", "Short", "Answer: "],
    "target_delimiter": ["", " ", "\n"],
    "fewshot_delimiter": ["\n\n", "\n###\n"],
    "gen_prefix": ["The answer is", "So: ", "\nX"],
}


def rows(start: int, count: int) -> list[dict[str, Any]]:
    return [
        {
            "q": f"What is {n}? ",
            "a": n % 3,
            "name": COLOURS[n % 3],
            "options": COLOURS,
            "n": str(n % 3),
            "text": f"row {n}",
            "answers": [f"r{n}", "x"],
        }
        for n in range(start, start + count)
    ]


def variants(chance: random.Random) -> list[dict[str, Any]]:
    """Task keys: every form of the target, the rest by chance."""
    listed: list[dict[str, Any]] = [
        {"output_type": "multiple_choice", "doc_to_target": target, "doc_to_choice": choices}
        for target, choices in itertools.product(TARGETS, CHOICES)
    ]
    metric = {"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}
    for target in TEXTS * 2:
        text = {"output_type": "generate_until", "doc_to_target": target, "metric_list": [metric]}
        listed.append({**text, "generation_kwargs": {"until": ["\n"]}})
    for keys in listed:
        keys["doc_to_text"] = chance.choice(QUESTIONS)
        keys["fewshot_config"] = {"sampler": "first_n"}
        chosen = {key: chance.choice(values) for key, values in OPTIONAL.items()}
        keys.update({key: value for key, value in chosen.items() if chance.random() < 0.5})
    return listed


def recorded(task: Any, doc: dict[str, Any], row: int, shots: int, chat: str) -> dict[str, Any]:
    """What the harness asks and how it scores, in our words."""
    seen: list[dict[str, str]] = []

    def template(messages: list[dict[str, str]], **_: object) -> str:
        seen.extend(messages)
        return "filled"

    prefix = task.doc_to_prefix(doc)
    use = {"apply_chat_template": chat == "model"}
    context = task.fewshot_context(
        doc,
        num_fewshot=shots,
        fewshot_as_multiturn=True,
        chat_template=template if chat == "model" else None,
        gen_prefix=prefix,
        **use,
    )
    made = task.construct_requests(doc=doc, ctx=context, metadata=("t", 0, 1), **use)
    turns = [[turn["role"], turn["content"]] for turn in seen]
    after = turns.pop()[1] if turns and turns[-1][0] == "assistant" else ""
    asked = {"row": row, "shots": shots, "chat_template": chat, "turns": turns}
    asked["context"] = after if chat == "model" else context
    if isinstance(made, list):
        asked["continuations"] = [request.args[1] for request in made]
        said: list[Any] = [[-3.0, -3.5, -2.9], [-1.0, -1.0, -4.0]]
        scores = [task.process_results(doc, [(x, False) for x in sums]) for sums in said]
    else:
        asked["continuations"] = []
        said = ["red", "1", "x"]
        scores = [task.process_results(doc, [text]) for text in said]
    kept = ("acc", "acc_norm", "exact_match")
    plain = [{key: float(found[key]) for key in kept if key in found} for found in scores]
    return {**asked, "outcomes": list(zip(said, plain, strict=True))}


def main() -> None:
    from lm_eval.api.task import ConfigurableTask  # type: ignore[import-not-found]

    train, test = rows(0, 4), rows(4, 4)
    cases = []
    with tempfile.TemporaryDirectory() as folder:
        files = {}
        for split, listed in (("train", train), ("test", test)):
            files[split] = str(Path(folder) / f"{split}.jsonl")
            lines = "".join(json.dumps(row) + "\n" for row in listed)
            Path(files[split]).write_text(lines, encoding="utf-8")
        place = {"task": "t", "dataset_path": "json", "dataset_kwargs": {"data_files": files}}
        splits = {"training_split": "train", "test_split": "test", "fewshot_split": "train"}
        for keys in variants(random.Random(0)):
            task = ConfigurableTask(config=copy.deepcopy({**place, **splits, **keys}))
            docs = list(task.test_docs())
            asked = [
                recorded(task, docs[row], row, shots, chat)
                for row, (shots, chat) in enumerate(itertools.product((0, 2), ("none", "model")))
            ]
            if keys["output_type"] == "generate_until":  # the harness's default filter
                steps = [{"function": "take_first"}]
                keys["filter_list"] = [{"name": "none", "filter": steps}]
            cases.append({"keys": keys, "asked": asked})
    path = Path(__file__).with_name("lm_eval_prompts.json")
    content = {"train": train, "test": test, "cases": cases}
    path.write_text(json.dumps(content, indent=None) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
