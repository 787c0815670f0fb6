"""Tools of the Makefile, the tests and the benchmarks, run from the top directory; the service imports none of them."""
