"""The tests; a package, so that they can import what `tests.tools.support` offers."""
