"""Emitted files in runtimes of others."""
