"""`/v1/conversations`: conversations as OpenAI's API has them, whichever API they were made by.

Their items are those of the shown branch. An answer's reasoning, text and calls are several items of one message: they
are stored and deleted together. Items that a client adds are messages without a run.
"""
