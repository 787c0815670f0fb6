"""Chat API.

Document: the browser chat API. Mounted at `/chat/`. With a bearer key you are its user; without one a guest,
where guests are admitted (setting `ANONYMOUS`).

Creating by `GET` is never cached, and refused to prefetching browsers and other sites. Posting a message only
stores it; `GET .../stream` answers the last message without an answer, with `data:` frames made for EventSource:
frames carry an `id:`, a reconnect resumes where the stream broke off, and 204 stops the reconnecting when nothing is
left to send. A question is answered, and billed, once, however many clients ask for the answer.

Errors are `{"error": {"code": ..., "message": ..., "details": ...}}`, with `details` by field for invalid input only.
During a stream, the object inside `error` is sent as `event: error`.

Not served: sending other roles than `user`; editing and branches (see `/conversations`).
"""
