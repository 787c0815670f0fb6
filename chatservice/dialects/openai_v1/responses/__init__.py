"""The Responses API, `/v1/responses`, beside chat completions and not a dialect of its own.

OpenAI's clients see one API under one base URL: one key, one error shape, one OpenAPI document, files and conversations
that responses and chat completions share. As dialects they could not import each other's items, so one folder has all.

A response is a run and its answer: `resp_` and the run's id. Its events are derived from the stored chunks, one by one,
so a stream that is read again, from any number and in any process, has the same bytes.
"""
