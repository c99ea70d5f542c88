"""The graph cut into parts: nodes ordered and rows written by tasks, none of which sees all of them."""
