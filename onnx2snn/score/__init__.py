"""Accuracy and energy."""
