"""Running an SNN."""
