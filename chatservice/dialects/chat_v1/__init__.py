"""Chat API.

Document: the Chat API, version 1. Mounted at `/v1/chat/`. Needs a bearer key: no guests.

Answers are `{success, data, message, meta}`, errors `{success: false, message, error: {code, details}}`.

Where the document is silent: deleting answers 200 in the envelope; `limit` is 1 to 100 (10 for
conversations, 100 for messages, unless given); messages are those of the branch that is shown, oldest first;
a message with the role `assistant` or `system` is stored and not answered. `parent_id` says which message
the new one follows, `null` begins the conversation anew; left out, it follows what is shown.
A stream is named by `X-Run-Id` and continues at `GET /runs/:id/stream` after the `id` of the last event.
An answer that its user stopped is complete in its own way: `ai_complete` with the status `cancelled`.

Not served: tool calls, and content other than text.
"""
