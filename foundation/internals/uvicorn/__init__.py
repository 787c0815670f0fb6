"""Subclasses of uvicorn's protocols and state that add what it lacks: limits on unauthenticated clients.

`http_protocol.py` and `websocket_protocol.py` limit one connection, with `bounded.py` as their common base;
`connections.py` limits all connections together. The service subclasses them to set what a request carries, and to word
the response to a fault (`faults.py`). Their cost is too small for `python -m benchmarks.unauthenticated` to measure:
201 µs of CPU per small request with them, and 205 without.
"""
