"""Write the rows of the embedded tasks: once, and the same bytes every time.

    python -m venv rows && rows/bin/pip install -r tools/requirements.txt
    rows/bin/python tools/make_tasks.py            # writes src/crosstune/tasks/library/*.jsonl
    rows/bin/python tools/make_tasks.py --check    # compares them instead; status 1 if they differ

The facts come from the packages of `tools/requirements.txt` and from `tools/task_words.py`;
their licences are in `src/crosstune/tasks/library/LICENCES.md`. The YAML files beside the rows
are written by hand.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import task_rows  # noqa: F401  registers the builders
from task_draw import BUILDERS, rows

LIBRARY = Path(__file__).parents[1] / "src" / "crosstune" / "tasks" / "library"
COUNTS = {"train": 600, "test": 300}


def library() -> dict[str, bytes]:
    """Every file of rows: its name → its bytes."""
    made = {}
    for task in BUILDERS:
        for split, count in COUNTS.items():
            drawn = rows(task, test=split == "test", count=count)
            lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in drawn]
            made[f"{task}.{split}.jsonl"] = "".join(lines).encode()
    return made


def differing(made: dict[str, bytes]) -> list[str]:
    """Names of files that are missing, too many, or not the same bytes."""
    found = {path.name: path.read_bytes() for path in LIBRARY.glob("*.jsonl")}
    return sorted(name for name in {*made, *found} if made.get(name) != found.get(name))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    check = parser.parse_args().check
    made = library()
    if check:
        wrong = differing(made)
        print("\n".join(["These files differ:", *wrong]) if wrong else "All files are the same.")
        return int(bool(wrong))
    for name, content in made.items():
        (LIBRARY / name).write_bytes(content)
    print(f"{len(made)} files, {sum(map(len, made.values())):,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
