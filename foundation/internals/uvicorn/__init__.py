"""What uvicorn lacks, by subclasses of its protocols and of its state: limits on clients that nobody knows yet.

`http_protocol.py` and `websocket_protocol.py` bound one connection, with what `bounded.py` does for both;
`connections.py` bounds all of them together. A subclass says what its requests carry, and what a client is told of a
fault (`faults.py`). All of it costs less than `python -m benchmarks.unauthenticated` can measure: 201 µs of CPU a small
request, and 205 without it.
"""
