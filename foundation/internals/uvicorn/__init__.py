"""Subclasses of uvicorn's protocols and state that add what it lacks: limits on unauthenticated clients.

`http_protocol.py` and `websocket_protocol.py` bound one connection, with what `bounded.py` does for both;
`connections.py` bounds all of them together. The service subclasses them to set what a request carries, and what a
client is told about a fault (`faults.py`). They cost less than `python -m benchmarks.unauthenticated` can measure: 201
µs of CPU per small request, and 205 without them.
"""
