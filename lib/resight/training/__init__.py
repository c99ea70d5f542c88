"""Training of networks on mined tuples: losses, hard negatives, learned pooling, exact resume."""
