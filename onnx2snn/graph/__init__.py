"""Editing a graph, and what its operators are."""
