"""Sorts messages, parents before children, and drops the entries that are not messages."""

from __future__ import annotations

import dataclasses
import datetime as dt
import heapq
import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from conversations.importers.values import ImportedMessage, Unusable

BEGINNING = dt.datetime.min.replace(tzinfo=dt.UTC)


@dataclass(frozen=True, slots=True)
class Node:
    """An entry of an export; one without a message only links its neighbours."""

    parent: str | None
    message: ImportedMessage | None = None
    position: float = math.inf


def arrange(nodes: Mapping[str, Node], current: str | None) -> tuple[tuple[ImportedMessage, ...], str | None]:
    """Return the messages, each with its nearest ancestor that is a message, and the id of the shown leaf.

    `current` names the shown leaf; if it names nothing, the newest message is shown. Messages are sorted by position,
    time and place in the export, but never a child before its parent. Raises Unusable for a cycle.
    """
    above = _Ancestors(nodes)
    children: dict[str | None, list[tuple[int, str]]] = defaultdict(list)
    parents: dict[str, str | None] = {}
    for index, (name, node) in enumerate(nodes.items()):
        if node.message is not None:
            parents[name] = above.nearest(node.parent)
            children[parents[name]].append((index, name))
    ordered: list[ImportedMessage] = []
    waiting: list[tuple[float, dt.datetime, int, str]] = []

    def follow(parent: str | None, since: dt.datetime) -> None:
        for index, name in children[parent]:
            node = nodes[name]
            assert node.message is not None
            heapq.heappush(waiting, (node.position, node.message.created_at or since, index, name))

    follow(None, BEGINNING)
    while waiting:
        _, when, _, name = heapq.heappop(waiting)
        message = nodes[name].message
        assert message is not None
        parent = parents[name]
        above_it = nodes[parent].message if parent is not None else None
        ordered.append(dataclasses.replace(message, parent=above_it.source_id if above_it else None))
        follow(name, when)
    if len(ordered) < len(parents):
        raise Unusable("its messages form a cycle")
    shown = above.nearest(current) if current in nodes else None
    shown_message = nodes[shown].message if shown is not None else None
    if shown_message is not None:
        return tuple(ordered), shown_message.source_id
    return tuple(ordered), ordered[-1].source_id if ordered else None


class _Ancestors:
    """Finds the nearest node with a message, at or above a given one; each node is looked up once."""

    def __init__(self, nodes: Mapping[str, Node]) -> None:
        self._nodes = nodes
        self._known: dict[str, str | None] = {}

    def nearest(self, name: str | None) -> str | None:
        path: list[str] = []
        seen: set[str] = set()
        found: str | None = None
        while name is not None and name not in seen and (node := self._nodes.get(name)) is not None:
            if node.message is not None:
                found = name
                break
            if name in self._known:
                found = self._known[name]
                break
            path.append(name)
            seen.add(name)
            name = node.parent
        self._known.update(dict.fromkeys(path, found))
        return found
