"""Boxes to objects and their instances.

Modules: ``spark`` (the tables, with what is shared by images of the same bytes).
"""
