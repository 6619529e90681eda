"""A page taken apart as a browser would, for tests that ask what stands in it."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from typing import Any

SECTIONS = "what matrix worse sources targets losses provenance method".split()
VOID = {"meta"}


class Parsed(HTMLParser):
    """A page's elements with their attributes, and the text of each."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.comments: list[str] = []
        self._open: list[int] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs)
        self.elements.append((tag, dict(attrs)))
        self.texts.append("")
        if tag not in VOID:
            self._open.append(len(self.elements) - 1)

    def handle_endtag(self, tag: str) -> None:
        assert self.elements[self._open.pop()][0] == tag

    def handle_data(self, data: str) -> None:
        for place in self._open:
            self.texts[place] += data

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)

    @property
    def shape(self) -> list[tuple[str, list[str]]]:
        """Tags and names of attributes: what a browser builds, whatever the texts."""
        return [(tag, list(attributes)) for tag, attributes in self.elements]

    def all(self, tag: str) -> list[tuple[dict[str, str | None], str]]:
        pairs = zip(self.elements, self.texts, strict=True)
        return [(attributes, text) for (name, attributes), text in pairs if name == tag]

    def section(self, name: str) -> str:
        """The text of a section, white space put in order."""
        (text,) = (text for attributes, text in self.all("section") if attributes["id"] == name)
        return " ".join(text.split())

    def payload(self) -> dict[str, Any]:
        (text,) = (text for attributes, text in self.all("script") if "id" in attributes)
        found: dict[str, Any] = json.loads(text)
        return found
