"""Chat API.

Document: the browser chat API. Mounted at `/chat/`. With a bearer key you are its user; without one a guest,
where guests are admitted (setting `ANONYMOUS`).

Creating by `GET` is never cached, and refused to prefetching browsers and other sites. A message is
only stored; `GET .../stream` answers the last one that has no answer, with `data:` frames made for
EventSource: frames carry an `id:`, a reconnect continues where it broke off, and 204 ends it when
nothing is left to say. A question is answered, and billed, once, however many ask for the answer.

Errors are `{"error": {"code": ..., "message": ..., "details": ...}}`; `details` only for input that
is not valid, by field. During a stream the same object's inside comes as `event: error`.

Not served: other roles than `user` in what is sent; editing and branches (see `/conversations`).
"""
