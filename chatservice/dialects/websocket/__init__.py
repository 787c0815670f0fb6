"""The chat service's own websocket: one socket carries many conversations, and everything that happens in them.

Document: docs/api/websocket.md. At `/ws/chat`, and nothing by HTTP. The frames are those of the v1 document's
stream, with the run, the conversation and a cursor to come back by. A bearer key comes by header, subprotocol or first
frame; the session of a browser that signed in counts on this service's own pages; without either you are a guest,
where guests are admitted (setting `ANONYMOUS`).

Not served: creating, listing and deleting conversations, which the HTTP dialects do.
"""

SCHEMA = False
"""OpenAPI describes no websockets."""
