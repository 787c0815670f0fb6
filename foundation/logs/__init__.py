"""What a log line holds, and how it is written: never a prompt, an answer, a key, a header or a query string.

`context.py` has what the lines of one request or run have in common, `formatters.py` writes lines, `tracebacks.py` the
places of an error without its values.
"""
