"""Write the scores table of `docs/tasks.md` from finished studies.

    python tools/task_table.py STUDY_FOLDER... [--condition NAME] [--write docs/tasks.md]

Reads `matrix.csv` of each folder. `base` is the bare model's score, `tuned on itself` the score of
the models whose source is the target, averaged over seeds; a column stays empty where no finished
cell says it. Later folders win. Without --write the table is printed.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from statistics import fmean

START, END = "<!-- scores -->", "<!-- end of scores -->"
Row = dict[str, str]


def finished(folders: Iterable[Path], condition: str) -> list[Row]:
    """Rows of the targets' first metrics whose cells are done, those of one condition."""
    rows: list[Row] = []
    for folder in folders:
        with (folder / "matrix.csv").open(encoding="utf-8", newline="") as file:
            rows += [row for row in csv.DictReader(file) if row["status"] == "done"]
    wanted = condition or (rows[0]["condition"] if rows else "")
    return [row for row in rows if row["main"] == "True" and row["condition"] == wanted]


def table(rows: Iterable[Row]) -> str:
    """A table in Markdown, one line a target, sorted by family and name."""
    by_target: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        by_target[row["target_family"], row["target"]].append(row)
    lines = ["| family | task | metric | n | base | tuned on itself |", "|---|---|---|--:|--:|--:|"]
    for (family, target), found in sorted(by_target.items()):
        last = found[-1]
        own = [row for row in found if row["source"] == target]
        same = [
            row for row in own if row["recipe"] == own[-1]["recipe"] and row["n"] == own[-1]["n"]
        ]
        tuned = f"{fmean(float(row['score']) for row in same):.3f}" if same else ""
        shown = own[-1] if own else last
        cells = (family, target, shown["metric"], shown["n"], f"{float(shown['base']):.3f}", tuned)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def replaced(text: str, new: str) -> str:
    """The text with what stands between the two marks exchanged.

    Raises:
        ValueError: A mark is missing.
    """
    before, _, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"the file lacks {START} … {END}")
    return f"{before}{START}\n{new}\n{END}{after}"


def main() -> int:
    """Print or write the table; status 1 when no cell is finished."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--condition", default="", help="the first one, when not given")
    parser.add_argument("--write", type=Path, help="file with the marks around the table")
    options = parser.parse_args()
    unready = [str(folder) for folder in options.folders if not (folder / "matrix.csv").is_file()]
    if unready:
        parser.error(f"no matrix.csv in {', '.join(unready)}: run the study to its end first")
    rows = finished(options.folders, options.condition)
    if not rows:
        print("No finished cell in these folders.", file=sys.stderr)
        return 1
    if options.write:
        text = options.write.read_text(encoding="utf-8")
        options.write.write_text(replaced(text, table(rows)), encoding="utf-8")
    else:
        print(table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
