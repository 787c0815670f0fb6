"""This service's connections: the bounded protocols of `foundation/internals/uvicorn/` with its own error responses.

uvicorn uses `protocols.py`; `refusals.py` has the error responses; `chatservice/server.py` connects the two.
"""
