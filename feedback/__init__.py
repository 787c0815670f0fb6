"""What users think of answers: a thumb and a word, a queue for staff, and an export for training and evaluation.

Imports only conversations and what is below. To take it out: this folder, the files `feedback.*` of `chat_v1`,
`graphql` and the page, and what imports them.
"""
