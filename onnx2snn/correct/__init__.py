"""Corrections of weights, biases and initial potentials."""
