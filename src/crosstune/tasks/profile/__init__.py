"""What a set of rows is like: its classes, its lengths and its language, in bounded memory.

| name | what it is |
|---|---|
| `profile`, `Text` | the profile of a stream of prompts and answers, as a JSON value |
| `profile_of` | the same of a task's examples, with what a model adds: tokens and states |
| `file_texts` | rows of a JSONL, CSV or Parquet file as such a stream |
| `READERS` | how such files end |
| `EDGES` | edges of the bins of every density of lengths |
| `EXTRAS` | packages that some of these need |
| `FEATURES` | the features of language: what each is, where it is from |
| `jaccard` | how much two sketched sets share |
| `VERSION` | of the profile, raised when its numbers change |
| `mtld`, `hdd` | two measures of how varied words are |
"""

from crosstune.tasks.profile.diversity import hdd, mtld
from crosstune.tasks.profile.files import file_texts
from crosstune.tasks.profile.language import EXTRAS, FEATURES
from crosstune.tasks.profile.lengths import EDGES
from crosstune.tasks.profile.measure import VERSION, Text, profile, profile_of
from crosstune.tasks.profile.sketches import jaccard
from crosstune.tasks.rows import READERS

__all__ = [
    "EDGES",
    "EXTRAS",
    "FEATURES",
    "READERS",
    "VERSION",
    "Text",
    "file_texts",
    "hdd",
    "jaccard",
    "mtld",
    "profile",
    "profile_of",
]
