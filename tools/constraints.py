"""Write constraints.txt: the exact versions of all that crosstune and its extras need.

Reads the environment it runs in, follows the requirements from this project's metadata on, and
leaves out what is installed for other reasons. Costs a second.

    python tools/constraints.py > constraints.txt
"""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

HEADER = """\
# Exact versions of everything crosstune needs, with all extras, for Python 3.11 and later.
# Made by tools/constraints.py from an environment in which the tests pass. Use: pip install -c
"""


def pins(root: str, extras: frozenset[str]) -> dict[str, str]:
    """Version of every distribution that the root reaches, by canonical name, root left out."""
    found: dict[str, str] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    queue = [(root, extras)]
    while queue:
        name, wanted = queue.pop()
        if (name, wanted) in seen:
            continue
        seen.add((name, wanted))
        try:
            installed = distribution(name)
        except PackageNotFoundError:
            continue  # the requirement is for another platform
        found[canonicalize_name(name)] = installed.version.split("+")[0]
        for line in installed.requires or []:
            needed = Requirement(line)
            asked = [{"extra": extra} for extra in wanted or {""}]
            if needed.marker is None or any(needed.marker.evaluate(one) for one in asked):
                queue.append((canonicalize_name(needed.name), frozenset(needed.extras)))
    found.pop(root)
    return found


if __name__ == "__main__":
    lines = [
        f"{name}=={version}"
        for name, version in sorted(pins("crosstune", frozenset({"dev"})).items())
    ]
    sys.stdout.write(HEADER + "\n".join(lines) + "\n")
