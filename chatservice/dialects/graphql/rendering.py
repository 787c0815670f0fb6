"""An answer as HTML while it is written: its finished blocks, asked for as they come."""

from __future__ import annotations

import strawberry

from chatservice.dialects.graphql.arguments import invalid
from conversations.finished_blocks import RenderState, render_finished
from conversations.rendering import MAX_TEXT
from foundation.database import in_database_thread

MAX_STATE = 100_000


@strawberry.type(description="The blocks of a text that no later line changes.")
class FinishedBlocks:
    html: list[str] = strawberry.field(
        description="The safe HTML of each block, as `html` of the message will have it."
    )
    lines: int = strawberry.field(description="How many lines of the text these blocks take; send the rest next time.")
    state: str = strawberry.field(description="What to send as `state` next time.")


async def finished_blocks(text: str, state: str) -> FinishedBlocks:
    if len(text) > MAX_TEXT:
        raise invalid("text", f"At most {MAX_TEXT} characters.")
    try:
        known = RenderState.parse(state if len(state) <= MAX_STATE else "too long")
    except ValueError as error:
        raise invalid("state", "The `state` of the blocks before, or nothing.") from error
    found = await in_database_thread(render_finished, text, known)
    return FinishedBlocks(html=found.html, lines=found.lines, state=str(found.state))
