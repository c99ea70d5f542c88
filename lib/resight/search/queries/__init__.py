"""What is asked: the rows of `QUERIES`, boxes of manifests, and the regions of a query in one row.

Modules: ``like`` (how query images are described), ``spark``. Gives ``queries``.
"""
