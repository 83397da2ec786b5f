"""Processes, their cost, and what is written down about them."""
