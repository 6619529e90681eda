"""What is asked: tasks, their examples and prompts, and what an answer is worth.

| name | what it is |
|---|---|
| `load` | the embedded tasks and the user's files, by name |
| `hub_names` | names of the tasks whose rows are on the Hub |
| `Task`, `Wording` | a task and one of its prompt variants, as values |
| `Example`, `Prompt`, `Condition` | a row, what a model is asked, how a target is asked |
| `examples`, `Examples` | a split, read and worded |
| `subset`, `demonstrations` | a seeded part of it; the solved examples before each question |
| `leakage`, `Leakage` | test inputs that stand in training rows, counted |
| `prompts` | the one renderer, for tuning, demonstrations and asking |
| `outcome`, `answer` | every metric of one answer, and the answer itself |
| `scoring_of`, `metric_names`, `limits` | how answers are scored, and ended |
| `check` | the contract every task keeps, as problems in words |
| `METRICS` | metrics of text answers, by name |
"""

from crosstune.tasks.checking import check
from crosstune.tasks.definition import Wording
from crosstune.tasks.edits import Edit, Edited, edited
from crosstune.tasks.example import ChatTemplate, Condition, Example, Prompt, Sampler, Scoring
from crosstune.tasks.leakage import Leakage, leakage
from crosstune.tasks.loading import hub_names, load
from crosstune.tasks.metrics import METRICS
from crosstune.tasks.rendering import prompts
from crosstune.tasks.scoring import (
    answer,
    limits,
    metric_names,
    outcome,
    same_written,
    scoring_of,
)
from crosstune.tasks.splits import Examples, demonstrations, examples, subset
from crosstune.tasks.task import Task

__all__ = [
    "METRICS",
    "ChatTemplate",
    "Condition",
    "Edit",
    "Edited",
    "Example",
    "Examples",
    "Leakage",
    "Prompt",
    "Sampler",
    "Scoring",
    "Task",
    "Wording",
    "answer",
    "check",
    "demonstrations",
    "edited",
    "examples",
    "hub_names",
    "leakage",
    "limits",
    "load",
    "metric_names",
    "outcome",
    "prompts",
    "same_written",
    "scoring_of",
    "subset",
]
