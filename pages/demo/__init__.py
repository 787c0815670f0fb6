"""A small believable history for trying the admin, the search and the page. Written by `manage.py seed_demo` alone."""
