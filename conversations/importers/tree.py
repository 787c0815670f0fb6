"""Sorts messages, parents before children, and drops the entries that are not messages."""

from __future__ import annotations

import dataclasses
import datetime as dt
import heapq
import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from conversations.importers.values import ImportedMessage

BEGINNING = dt.datetime.min.replace(tzinfo=dt.UTC)


@dataclass(frozen=True, slots=True)
class Node:
    """An entry of an export; one without a message only links its neighbours."""

    parent: str | None
    message: ImportedMessage | None = None
    position: float = math.inf


def cut_loops(
    parents: Mapping[str, str | None],
    *,
    first: Callable[[str], Any],
    claims: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, str | None]:
    """Return `parents` without loops: one entry of each loop gets another parent, or none.

    `claims` are the entries that list an entry as their child. If one outside of the loop does, it becomes the parent;
    otherwise the entry with the lowest `first` becomes a root.
    """
    cut = dict(parents)
    rooted: set[str] = set()
    loops: list[list[str]] = []
    visited: set[str] = set()
    for start in parents:
        path: dict[str, None] = {}
        name: str | None = start
        while name is not None and name in parents and name not in visited:
            visited.add(name)
            path[name] = None
            name = parents[name]
        if name is not None and name in path:
            steps = list(path)
            loops.append(steps[steps.index(name) :])
        elif name is None or name not in parents or name in rooted:
            rooted.update(path)
    for loop in loops:
        claimed = [(parent, name) for name in loop for parent in (claims or {}).get(name, ()) if parent in rooted]
        parent, name = claimed[0] if claimed else (None, min(loop, key=first))
        cut[name] = parent
        rooted.update(loop)
    return cut


def from_the_top(parents: Mapping[str, str | None]) -> list[str]:
    """Return the names sorted, parents before their children; `parents` must be without loops."""
    children: dict[str | None, list[str]] = defaultdict(list)
    for name, parent in parents.items():
        children[parent if parent in parents else None].append(name)
    ordered = list(children[None])
    for name in ordered:  # the list grows while it is read
        ordered += children[name]
    return ordered


def arrange(nodes: Mapping[str, Node], current: str | None) -> tuple[tuple[ImportedMessage, ...], str | None]:
    """Return the messages, each with its nearest ancestor that is a message, and the id of the shown leaf.

    `current` names the shown leaf; if it names nothing, the newest message is shown. Messages are sorted by position,
    time and place in the export, but never a child before its parent. `nodes` must be without loops, see `cut_loops`.
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
