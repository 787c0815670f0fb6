"""The pages for people: chat, profile and sign-in, their scripts and styles, and demo history to try them with."""
