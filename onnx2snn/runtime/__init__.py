"""Runs a spiking model through time, and unrolls it into one model."""
