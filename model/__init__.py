"""Everything that computes: usable as a library with no bot. Importing the package itself imports no torch."""
