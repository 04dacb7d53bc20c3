"""ANN and thresholds -> SNN."""
