"""The instructions and parameters that a conversation keeps, applied to the questions asked in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from conversations.generation import readable_generation

if TYPE_CHECKING:
    from completions.run_requests import RunRequest

LENGTH = "max_tokens"
OTHER_LENGTHS = frozenset({"max_completion_tokens", "max_output_tokens"})


@dataclass(frozen=True, slots=True)
class ConversationGeneration:
    """How the answers of one conversation are made. What a request says itself comes before it."""

    instructions: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return it as it is stored with the conversation."""
        return {**({"instructions": self.instructions} if self.instructions else {}), **self.parameters}

    def applied_to(self, request: RunRequest) -> RunRequest:
        """Return the request with what it does not say itself; one that resends its history says everything."""
        if request.threaded:
            return request
        own = dict(self.parameters)
        if OTHER_LENGTHS & request.parameters.keys():
            own.pop(LENGTH, None)
        return replace(
            request,
            instructions=request.instructions or self.instructions,
            parameters={**own, **request.parameters},
        )


NOTHING = ConversationGeneration()


def conversation_generation(stored: Any) -> ConversationGeneration | None:
    """Return what a conversation keeps; None if that is nothing."""
    kept = readable_generation(stored)
    if kept is None:
        return None
    return ConversationGeneration(kept.pop("instructions", ""), kept)
