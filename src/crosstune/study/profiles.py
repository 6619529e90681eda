"""What datasets are like, measured while a study runs, so that analyses need no model and no rows.

Costs a pass over the prompts and reading a few of them with the base: seconds a dataset.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from crosstune.models import LanguageModel
from crosstune.results.store import Store
from crosstune.study.keys import key
from crosstune.study.progress import Reporter
from crosstune.tasks import Example, Prompt
from crosstune.tasks.profile import EXTRAS, VERSION, profile_of


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
        said = {"base": base, "kind": self.kind, "rows": key(told), "version": VERSION}
        return key(said | {"extras": [find_spec(name) is not None for name in EXTRAS]})


def measure(
    datasets: Mapping[str, Dataset], *, model: LanguageModel, store: Store, reporter: Reporter
) -> None:
    """Put the profile of every dataset, by its key; one that cannot be made is told and lacks."""
    reporter.begin(len(datasets))
    try:
        for name, dataset in datasets.items():
            progress = reporter.stage(f"{dataset.title}: measuring", units=1)
            try:
                found = _measured(dataset, model)
            except Exception as error:  # noqa: BLE001 (memory, say: scores are worth more)
                why = f"{type(error).__name__}: {error}".partition("\n")[0]
                reporter.say(f"note: the rows of {dataset.title} could not be measured ({why})")
            else:
                store.put("profiles", name, partial(_write, told=json.dumps(found, indent=1)))
            progress(1, 1, "")
    finally:
        reporter.end()


def _measured(dataset: Dataset, model: LanguageModel) -> dict[str, Any]:
    found = model.measure(dataset.prompts)
    return profile_of(
        dataset.examples,
        dataset.prompts,
        kind=dataset.kind,
        tokens=(found.prompt_tokens, found.answer_tokens),
        embedding=found.states,
    )


def _write(folder: Path, *, told: str) -> None:
    (folder / "profile.json").write_text(told, encoding="utf-8")
