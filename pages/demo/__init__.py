"""A small believable history for trying the admin, the search and the page. Only `manage.py seed_demo` writes it."""
