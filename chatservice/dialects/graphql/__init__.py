"""GraphQL over the same store.

Document: the Chatbot API, its GraphQL section (`todos`, `createTodo`). At `/graphql`: queries and mutations by POST,
subscriptions by websocket with the subprotocol `graphql-transport-ws`. With a bearer key you are its user;
the session of a browser that signed in makes you its user on this service's own pages (accounts/sessions.py);
without either you are a guest, where guests are admitted (setting `ANONYMOUS`). A browser's websocket sends its key as
`{"type": "connection_init", "payload": {"authorization": "Bearer <key>"}}`.

Where the document is silent: a to-do is optionally about a conversation. Ids are opaque. The id of something that
belongs to somebody else is treated like an unknown one: queries return `null`, mutations fail with `not_found`. Errors
are `{"errors": [{"message", "extensions": {"code"}}]}`, with status 200 once an operation was executed and 4xx before.
Limits on depth, aliases, tokens, cost and page sizes are settings (`GRAPHQL_*`).

The chat page uses this API: `html` is the rendered message, `versions` are the ids of its siblings, and `wait: false`
starts an answer that is then followed by its run, at `/ws/chat` or with `followRun`.

Not served: batches, queries by GET, uploads, `@defer`, the old subprotocol `graphql-ws`, persisted queries.
"""

SCHEMA = False
"""It documents itself: by introspection, and at GET /graphql, where documentation is on."""
