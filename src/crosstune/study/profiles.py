"""What datasets are like, measured while a study runs, so that analyses need no model and no rows.

Costs a pass over the prompts and reading a few of them with the base: seconds a dataset.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from crosstune.models import LanguageModel
from crosstune.results.store import Store
from crosstune.study.keys import key
from crosstune.study.progress import Reporter
from crosstune.tasks import Example, Prompt
from crosstune.tasks.profile import VERSION, profile_of


@dataclass(frozen=True, slots=True)
class Dataset:
    """Rows of which a profile is wanted: those a source teaches or a target asks.

    Attributes:
        title: For people.
        kind: `choice` where all of its tasks are such.
        examples: As they are taught, edits done, or asked.
        prompts: Their final wording, in the same order.
    """

    title: str
    kind: Literal["choice", "text"]
    examples: Sequence[Example]
    prompts: Sequence[Prompt]

    def key(self, base: Mapping[str, Any]) -> str:
        """Name of its profile; `base` is what decides the model's answers."""
        rows = zip(self.examples, self.prompts, strict=True)
        told = [(example.context, example.choices, asdict(prompt)) for example, prompt in rows]
        return key({"base": base, "kind": self.kind, "rows": key(told), "version": VERSION})


def measure(
    datasets: Mapping[str, Dataset], *, model: LanguageModel, store: Store, reporter: Reporter
) -> None:
    """Put the profile of every dataset, by its key, of which there is none."""
    reporter.begin(len(datasets))
    try:
        for name, dataset in datasets.items():
            progress = reporter.stage(f"{dataset.title}: measuring", units=1)
            measured = model.measure(dataset.prompts)
            found = profile_of(
                dataset.examples,
                dataset.prompts,
                kind=dataset.kind,
                tokens=(measured.prompt_tokens, measured.answer_tokens),
                embedding=measured.states,
            )

            def fill(folder: Path, told: str = json.dumps(found, indent=1)) -> None:
                (folder / "profile.json").write_text(told, encoding="utf-8")

            store.put("profiles", name, fill)
            progress(1, 1, "")
    finally:
        reporter.end()
