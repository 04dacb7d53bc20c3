"""How thresholds move through operators, a family of operators a module."""
