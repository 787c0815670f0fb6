"""Chat API.

Document: the Chat API, version 1. Mounted at `/v1/chat/`. Needs a bearer key: no guests.

Answers are `{success, data, message, meta}`, errors `{success: false, message, error: {code, details}}`.

Where the document is silent: deleting responds with 200 and the envelope; `limit` is 1 to 100 (by default 10 for
conversations, 100 for messages); messages are those of the shown branch, oldest first; a message with the role
`assistant` or `system` is stored, but not answered. `parent_id` names the message to append to; `null` starts a new
branch at the root; without it, the message is appended to the shown branch. `X-Run-Id` names the run of a stream,
which resumes at `GET /runs/:id/stream` after the `id` of the last event. An answer that its user stopped ends with
`ai_complete` and the status `cancelled`.

Not served: tool calls, and content other than text.
"""
