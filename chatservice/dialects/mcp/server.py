"""The MCP server: lists and calls the tools, and offers conversations as resources. Imported at the first request."""

from __future__ import annotations

import functools
import logging
import re
from typing import Any

import msgspec
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    ListResourcesResult,
    ListResourceTemplatesResult,
    ListToolsResult,
    PaginatedRequestParams,
    ReadResourceRequestParams,
    ReadResourceResult,
    Resource,
    ResourceTemplate,
    TextContent,
    TextResourceContents,
    ToolAnnotations,
)
from mcp_types import Tool as ListedTool

from accounts.scopes import Scope, has_scope
from chatservice import __version__
from chatservice.dialects.mcp.errors import data_of
from chatservice.dialects.mcp.reading import Asker, list_part, read_part
from chatservice.dialects.mcp.results import named
from chatservice.dialects.mcp.tools import TOOLS, call, schema_of
from chatservice.dialects.problems import Problem, problem_of
from foundation.database import in_database_thread

# Its warnings and errors name what clients sent; what fails here is logged by `problem_of`.
logging.getLogger("mcp").setLevel(logging.CRITICAL)

ASKER = "chat.asker"
"""Where the scope of a request has its Asker."""
URI = "chat://conversations/"
URI_OF_ONE = re.compile(re.escape(URI) + r"([0-9a-fA-F-]{32,36})\Z", re.ASCII)
TEXT = "text/markdown"
PAGE = 50
READ_ONLY = ToolAnnotations(read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False)
INSTRUCTIONS = (
    "The user's own past conversations with assistants, read-only. Begin with search_history or recent, read on with "
    "read_conversation, and give the user the url of what you quote."
)


@functools.cache
def server_for(may_read: bool) -> Server[Any]:
    """Return the server for callers who may only search, or who `may_read` conversations, too."""
    about: dict[str, Any] = {"version": __version__, "title": "Chat history", "instructions": INSTRUCTIONS}
    if may_read:
        about |= {
            "on_list_resources": list_resources,
            "on_list_resource_templates": list_templates,
            "on_read_resource": read_resource,
        }
    server: Server[Any] = Server("chat-history", on_list_tools=list_tools, on_call_tool=call_tool, **about)
    server.middleware.clear()  # its spans would name what clients sent; the service has its own
    return server


def asker_of(ctx: Any) -> Asker:
    asker: Asker = ctx.request.scope[ASKER]
    return asker


async def list_tools(ctx: Any, params: PaginatedRequestParams | None) -> ListToolsResult:
    principal = asker_of(ctx).principal
    return ListToolsResult(tools=[_listed(name) for name, tool in TOOLS.items() if has_scope(principal, tool.scope)])


@functools.cache
def _listed(name: str) -> ListedTool:
    tool = TOOLS[name]
    return ListedTool(
        name=name,
        title=tool.title,
        description=tool.description,
        input_schema=schema_of(tool.takes),
        output_schema=schema_of(tool.returns),
        annotations=READ_ONLY,
    )


async def call_tool(ctx: Any, params: CallToolRequestParams) -> CallToolResult:
    tool = TOOLS.get(params.name)
    if tool is None:
        raise MCPError(INVALID_PARAMS, "There is no such tool.", {"code": "not_found"})
    try:
        result = await call(tool, asker_of(ctx), params.arguments)
    except Exception as error:  # the model reads what is wrong, and may ask again
        problem = problem_of(error)
        return CallToolResult(content=[TextContent(text=problem.message)], is_error=True, _meta=data_of(problem))
    return CallToolResult(content=[TextContent(text=result.as_text())], structured_content=msgspec.to_builtins(result))


async def list_resources(ctx: Any, params: PaginatedRequestParams | None) -> ListResourcesResult:
    asker, cursor = asker_of(ctx), (params.cursor if params is not None else None) or ""
    try:
        listing = await in_database_thread(functools.partial(list_part, asker, limit=PAGE, cursor=cursor))
    except Exception as error:
        raise _refusal(problem_of(error)) from None
    return ListResourcesResult(
        resources=[
            Resource(uri=f"{URI}{each.id}", name=each.id, title=named(each.title), mime_type=TEXT)
            for each in listing.conversations
        ],
        next_cursor=listing.next_cursor,
    )


async def list_templates(ctx: Any, params: PaginatedRequestParams | None) -> ListResourceTemplatesResult:
    template = ResourceTemplate(
        uri_template=f"{URI}{{id}}",
        name="conversation",
        title="Conversation",
        description="The last messages of a conversation of the user's, by its id.",
        mime_type=TEXT,
    )
    return ListResourceTemplatesResult(resource_templates=[template])


async def read_resource(ctx: Any, params: ReadResourceRequestParams) -> ReadResourceResult:
    match = URI_OF_ONE.match(str(params.uri))
    try:
        part = await in_database_thread(read_part, asker_of(ctx), match[1] if match else "")
    except Exception as error:
        raise _refusal(problem_of(error)) from None
    return ReadResourceResult(
        contents=[TextResourceContents(uri=f"{URI}{part.id}", mime_type=TEXT, text=part.as_text())]
    )


def _refusal(problem: Problem) -> MCPError:
    code = INTERNAL_ERROR if problem.status >= 500 else INVALID_PARAMS
    return MCPError(code, problem.message, data_of(problem))


def may_read(asker: Asker) -> bool:
    return has_scope(asker.principal, Scope.READ)
