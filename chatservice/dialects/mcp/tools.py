"""The tools: what each takes and returns, the scope that a key needs for it, and the function that does it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from accounts.scopes import Scope
from chatservice.dialects.mcp import arguments, results
from chatservice.dialects.mcp.reading import Asker, list_part, read_part, read_recent, refuse_strangers
from chatservice.dialects.problems import BadRequest
from chatservice.dialects.searching import read_search, read_times
from conversations.tags import read_tag
from foundation.database import in_database_thread
from search.threads import in_search_thread


@dataclass(frozen=True, slots=True)
class Tool:
    """`run` takes an Asker and the arguments, and uses the database."""

    title: str
    scope: Scope
    takes: type[arguments.Arguments]
    returns: type[results.Result]
    run: Callable[[Asker, Any], results.Result]

    @property
    def description(self) -> str:
        return " ".join((self.takes.__doc__ or "").split())


def search_history(asker: Asker, given: arguments.SearchHistory) -> results.Found:
    refuse_strangers(asker.principal)
    parameters = {"q": given.query, "since": given.since, "until": given.until, "limit": str(given.limit)}
    parameters["tag"] = given.tag
    found = read_search({name: value for name, value in parameters.items() if value}).find(asker.principal)
    return results.Found(
        passages=[
            results.Passage(
                conversation_id=str(hit.message.conversation_id),
                message_id=str(hit.message.pk),
                title=hit.message.conversation.title,
                role=hit.message.role,
                date=hit.message.created_at,
                snippet=hit.snippet,
                found=hit.found,
                url=asker.url(hit.message.conversation_id, hit.message.pk),
            )
            for hit in found.hits
        ],
        mode=str(found.mode),
        why=found.why or None,
    )


def read_conversation(asker: Asker, given: arguments.ReadConversation) -> results.ConversationPart:
    return read_part(asker, given.id, around=given.around)


def list_conversations(asker: Asker, given: arguments.ListConversations) -> results.Listing:
    since, until = read_times({"since": given.since, "until": given.until})
    return list_part(asker, limit=given.limit, cursor=given.cursor, since=since, until=until, tag=_tag(given.tag))


def _tag(given: str) -> str:
    try:
        return read_tag(given) if given else ""
    except ValueError as error:
        raise BadRequest(f"tag: {error}", code="validation_error", param="tag") from error


def recent(asker: Asker, given: arguments.Recent) -> results.RecentConversations:
    return read_recent(asker, given.limit)


TOOLS = {
    "search_history": Tool(
        "Search past conversations", Scope.SEARCH, arguments.SearchHistory, results.Found, search_history
    ),
    "read_conversation": Tool(
        "Read a conversation", Scope.READ, arguments.ReadConversation, results.ConversationPart, read_conversation
    ),
    "list_conversations": Tool(
        "List conversations", Scope.READ, arguments.ListConversations, results.Listing, list_conversations
    ),
    "recent": Tool("Recent conversations", Scope.READ, arguments.Recent, results.RecentConversations, recent),
}


async def call(tool: Tool, asker: Asker, given: dict[str, Any] | None) -> results.Result:
    """Run a tool; raises what its function raises, and BadRequest."""
    read = arguments.read_arguments(tool.takes, given)
    in_thread = in_search_thread if tool.scope is Scope.SEARCH else in_database_thread
    return await in_thread(tool.run, asker, read)


def schema_of(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """Return the JSON schema of a struct, as an object with its definitions: MCP takes no reference at the top."""
    [_], components = msgspec.json.schema_components([kind], ref_template="#/$defs/{name}")
    top = {name: value for name, value in components.pop(kind.__name__).items() if name != "description"}
    return {**top, "$defs": components} if components else top
