"""The pages for people: chat, profile and sign-in, their scripts and styles, and the demo history to try them on."""
