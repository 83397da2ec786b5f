"""Seeded data with the shapes of public data sets, so that a benchmark needs no download."""
