"""Tests of work that is spread over a cluster."""
