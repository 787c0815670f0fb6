"""Read-only links to a conversation up to one of its messages, for anybody who has the link.

Imports only conversations and what is below. To take it out: this folder, the files `shared_links.*` of `chat_v1`,
`graphql` and the page, `chatservice/sharing_settings.py`, and what imports them.
"""
