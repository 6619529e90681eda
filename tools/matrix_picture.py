"""Draw a study's matrix as an SVG: base scores and the gain of every source on every target.

python tools/matrix_picture.py STUDY_FOLDER docs/images/demo.svg
"""

from __future__ import annotations

import argparse
import csv
import html
from pathlib import Path
from statistics import fmean

CELL, HEIGHT, LEFT, TOP = 96, 30, 190, 78
FONT = "ui-sans-serif, system-ui, 'Segoe UI', Helvetica, Arial, sans-serif"


def colour(gain: float) -> str:
    """Blue for a gain, orange for a loss, full at 40 points; distinct to colour-blind eyes."""
    strength = min(1.0, abs(gain) / 0.4)
    end = (33, 102, 172) if gain > 0 else (217, 95, 14)
    red, green, blue = (round(247 + (full - 247) * strength) for full in end)
    return f"#{red:02x}{green:02x}{blue:02x}"


def text(x: float, y: float, words: str, style: str = "") -> str:
    return f'<text x="{x:g}" y="{y:g}" {style}>{html.escape(words)}</text>'


def cell(x: float, y: float, gain: float | None, *, own: bool) -> str:
    fill = "none" if gain is None else colour(gain)
    dark = gain is not None and abs(gain) > 0.25
    edge = 'stroke="#222" stroke-width="1.6"' if own else 'stroke="#fff"'
    shown = "–" if gain is None else f"{100 * gain:+.1f}".replace("-", "−")
    style = f'text-anchor="middle" fill="{"#fff" if dark else "#222"}"'
    size = f'width="{CELL - 4}" height="{HEIGHT - 4}" rx="3"'
    box = f'<rect x="{x:g}" y="{y:g}" {size} fill="{fill}" {edge}/>'
    return box + text(x + CELL / 2 - 2, y + HEIGHT / 2 + 3, shown, style)


def drawing(rows: list[dict[str, str]], title: str) -> str:
    """Targets downwards, sources across; the main metric of the first recipe and condition."""
    first = rows[0]
    rows = [
        row
        for row in rows
        if row["main"] == "True"
        and (row["recipe"], row["condition"]) == (first["recipe"], first["condition"])
    ]
    sources = list(dict.fromkeys(row["source"] for row in rows))
    targets = list(dict.fromkeys(row["target"] for row in rows))
    width, height = LEFT + CELL * (len(sources) + 1) + 10, TOP + HEIGHT * len(targets) + 34
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            f'width="{width}" height="{height}" font-family="{FONT}" font-size="12.5">'
        ),
        f'<rect width="{width}" height="{height}" rx="8" fill="#ffffff"/>',
        text(16, 26, title, 'font-size="15" font-weight="600" fill="#111"'),
    ]
    for i, name in enumerate(["base score", *sources]):
        x = LEFT + CELL * i + CELL / 2 - 2
        weight = 'font-weight="600" ' if i else ""
        for line, words in enumerate(name.replace("_", " ").split()[:2]):
            parts.append(
                text(x, TOP - 24 + 14 * line, words, f'text-anchor="middle" {weight}fill="#222"')
            )
    for j, target in enumerate(targets):
        y = TOP + HEIGHT * j
        here = [row for row in rows if row["target"] == target]
        parts.append(
            text(LEFT - 12, y + 18, target.replace("_", " "), 'text-anchor="end" fill="#222"')
        )
        base = f"{100 * float(here[0]['base']):.1f}" if here[0]["base"] else "–"
        parts.append(text(LEFT + CELL / 2 - 2, y + 18, base, 'text-anchor="middle" fill="#555"'))
        for i, source in enumerate(sources):
            gains = [row["gain"] for row in here if row["source"] == source]
            known = fmean(map(float, gains)) if all(gains) else None
            parts.append(cell(LEFT + CELL * (i + 1), y, known, own=source == target))
    note = (
        "Gains over the base in points, same examples and prompts; framed: the source's own task."
    )
    parts.append(text(16, height - 12, note, 'fill="#555" font-size="11.5"'))
    return "\n".join([*parts, "</svg>"]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw a study's matrix as an SVG.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--title", default="What tuning on each source does to each target")
    given = parser.parse_args()
    with (given.folder / "matrix.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    given.picture.parent.mkdir(parents=True, exist_ok=True)
    given.picture.write_text(drawing(rows, given.title), encoding="utf-8")


if __name__ == "__main__":
    main()
