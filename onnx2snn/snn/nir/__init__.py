"""A step graph as a graph of NIR (Neuromorphic Intermediate Representation): `export --to nir`."""
