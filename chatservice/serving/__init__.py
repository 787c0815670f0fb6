"""What uvicorn lacks: limits on unauthenticated clients, and a stop that loses no request.

`http_protocol.py` and `websocket_protocol.py` bound one connection, `connections.py` all of them together,
`listeners.py` stops listening. `chatservice/server.py` puts them together.
"""
