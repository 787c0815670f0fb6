"""Users, conversations, messages and search.

Documents: the AI Conversation API and the Chat Service, which share the `/conversations` collection.
Mounted at the root. With a bearer key you are its user; without one a guest, where guests are admitted
(setting `ANONYMOUS`). Guests use what guests created. `user_id` in a body never identifies the caller: it is the
caller's own account, for guests an account that guests created (`POST /users`), or else a label, shown as `end_user`.

Ids of conversations and users are UUIDs; a message's `id` is its number within its conversation.
Conversations branch: editing a message puts a new one with a new number in its place, and the messages after the old
one stay on the old branch. Lists are plain arrays; `?limit=&page=` pages them, and `X-Total-Count` and `Link` give the
total and the neighbouring pages.

Answers can be awaited or streamed. Streamed events carry an `id:`; `GET /runs/{run_id}/stream` with `Last-Event-ID`
resumes after it, and `X-Run-Id` on every answer names its run. A request that repeats an `Idempotency-Key` gets the
first request's answer and is never billed twice.

Errors are `{"error": {"code": ..., "message": ..., "details": ...}}`, with `details` by field for invalid input only.
Passwords are never stored or returned in clear text: `password` is masked.
"""
