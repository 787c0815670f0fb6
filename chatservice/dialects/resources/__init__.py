"""Users, conversations, messages and search.

Documents: the AI Conversation API and the Chat Service, which share the `/conversations` collection.
Mounted at the root. With a bearer key you are its user; without one a guest, where guests are admitted
(setting `ANONYMOUS`). Guests use what guests created. `user_id` in a body is never an identity: it is the caller, for a
guest an account that guests made (`POST /users`), or else a label, shown as `end_user`.

Ids of conversations and users are UUIDs; a message's `id` is its number within its conversation.
Conversations branch: changing a message puts a new one with a new number in its place, and what
was said after the old one stays on the old branch. Lists are plain; `?limit=&page=` pages them, and
`X-Total-Count` and `Link` say how much there is.

Answers can be awaited or streamed. Streamed events carry an `id:`; `GET /runs/{run_id}/stream` with
`Last-Event-ID` continues after it, and `X-Run-Id` on every answer names its run. A repeated
`Idempotency-Key` gets the first request's answer and is never billed twice.

Errors are `{"error": {"code": ..., "message": ..., "details": ...}}`; `details` only for input that
is not valid, by field. Passwords are never stored or returned in clear: `password` is masked.
"""
