"""The items of a request that stand for stored ones: references by id, and compactions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from accounts.callers import Principal
from chatservice.dialects.openai_v1.items import items_of, message_id_of
from chatservice.dialects.problems import BadRequest
from completions.types import Wire
from conversations.models import Message

SUMMARY = "This is a summary of the conversation before this point:\n\n"
KINDS = ("item_reference", "compaction")


class References:
    """The ids that a list of items refers to."""

    def __init__(self, items: Sequence[Any]) -> None:
        self.ids = tuple(_named(item) for item in items if _is_reference(item))

    def __bool__(self) -> bool:
        return bool(self.ids)

    def find(self, principal: Principal) -> dict[str, Wire]:
        """Return the stored items by their ids, those that this caller may see; raises BadRequest for any other."""
        wanted = {each: message_id_of(each) for each in self.ids}
        visible = Message.objects.visible_to(principal).filter(pk__in=[pk for pk in wanted.values() if pk])
        messages = {message.pk: message for message in visible.prefetch_related("parts")}
        found = {}
        for named, pk in wanted.items():
            message = messages.get(pk) if pk else None
            item = _item(message, named) if message is not None else None
            if item is None:
                raise BadRequest("Item not found.", code="item_not_found", param="input")
            found[named] = item
        return found

    def replaced(self, items: Sequence[Any], found: Mapping[str, Wire]) -> list[Any]:
        """Return `items` with the stored ones in place of what stands for them."""
        return [found[_named(item)] if _is_reference(item) else item for item in items]

    def without(self, items: Sequence[Any]) -> list[Any]:
        return [item for item in items if not _is_reference(item)]


def _is_reference(item: Any) -> bool:
    """Tell whether an item stands for a stored one. A compaction that is not ours goes to the upstream that made it."""
    if not isinstance(item, Mapping) or item.get("type") not in KINDS:
        return isinstance(item, Mapping) and item.keys() == {"id"}
    return item["type"] == "item_reference" or message_id_of(item.get("encrypted_content")) is not None


def _named(item: Wire) -> str:
    named = item.get("encrypted_content") if item.get("type") == "compaction" else item.get("id")
    return named if isinstance(named, str) else ""


def _item(message: Message, named: str) -> Wire | None:
    if named.startswith("cmp_"):
        return {"type": "message", "role": "developer", "content": SUMMARY + message.content}
    return next((item for item in items_of(message.as_wire(), message_id=message.pk) if item["id"] == named), None)
