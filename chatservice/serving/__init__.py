"""Connections of this service: the bounded protocols of `foundation/internals/uvicorn/`, in its own words.

`protocols.py` is what uvicorn is given, `refusals.py` what a client is told; `chatservice/server.py` joins them.
"""
