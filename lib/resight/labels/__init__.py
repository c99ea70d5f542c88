"""Labels, when a few are known: spread over the graph with certainty, and cleaned of noise."""
