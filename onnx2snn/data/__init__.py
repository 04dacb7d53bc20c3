"""Samples for calibrating and scoring."""
