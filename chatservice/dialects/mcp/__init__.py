"""One's own history as an MCP server.

Document: the Model Context Protocol, its Streamable HTTP transport, at `/mcp`: each POST is one JSON-RPC message, and
the response is JSON. The package `mcp` speaks the protocol, in all versions that it knows; this folder has the tools
and the resources. With a bearer key you are its user; the session of a browser that signed in makes you its user on
this service's own pages; without either you are a guest, where guests are admitted (setting `ANONYMOUS`).

A key needs the scope `search`, and for everything that opens or lists conversations also `read`: without that, the
server offers `search_history` alone. Everything is read-only, and nothing is found of what belongs to somebody else.

Where the document is silent: there are no sessions, because any process may get the next request. What a tool refuses
is its result, with `isError`, so that the model reads why; `_meta` has the code of the refusal. What is refused before
(key, scope, limits, a body that is no JSON-RPC) has its HTTP status and a JSON-RPC error, whose `data` has the code.

Not served: the stream of notifications by GET, subscriptions, prompts, batches, OAuth.
"""

SCHEMA = False
"""It documents itself: by `tools/list` and `resources/templates/list`."""
