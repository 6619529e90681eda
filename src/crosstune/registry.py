"""One way to add a thing by name: a decorator here, an entry point elsewhere.

A registry reads its entry points (group `crosstune.<kind>`) only when a name is looked up, so
importing costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from crosstune.errors import InputError, did_you_mean

Item = TypeVar("Item")


class Registry(Generic[Item]):
    """Names of one kind of thing.

    Example:
        >>> shouts: Registry[str] = Registry("shout")
        >>> shouts.add("hello")("HELLO")
        'HELLO'
        >>> shouts["hello"], shouts.names()
        ('HELLO', ('hello',))
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._items: dict[str, Item] = {}

    def add(self, name: str) -> Callable[[Item], Item]:
        """Decorator that registers under a name; a name can be taken once."""

        def register(item: Item) -> Item:
            if name in self._items:
                raise ValueError(f"there are two {self.kind}s called '{name}'")
            self._items[name] = item
            return item

        return register

    def names(self) -> tuple[str, ...]:
        """All known names, sorted, those of installed entry points among them."""
        outside = {point.name for point in entry_points(group=f"crosstune.{self.kind}")}
        return tuple(sorted(outside | set(self._items)))

    def __contains__(self, name: object) -> bool:
        return name in self._items or name in self.names()

    def __getitem__(self, name: str) -> Item:
        """The thing of that name.

        Raises:
            InputError: There is none; a near name is offered.
        """
        if name not in self._items:
            for point in entry_points(group=f"crosstune.{self.kind}", name=name):
                self._items[name] = point.load()
        if name not in self._items:
            hint = did_you_mean(name, self.names()) or f" There are: {', '.join(self.names())}."
            raise InputError(f"There is no {self.kind} called '{name}'.{hint}")
        return self._items[name]
