"""One file per ML task: what its predictions are and how they are scored."""
