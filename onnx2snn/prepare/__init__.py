"""ANN -> ANN that is ready to convert."""
