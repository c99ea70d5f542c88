"""Similarities freed from what is alike everywhere, by a set of images that are copies of nothing."""
