"""Tools of the Makefile, run from the top directory; the service itself imports nothing from here."""
