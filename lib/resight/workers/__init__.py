"""How Spark's Python workers begin: forked from a daemon that has imported what they share.

``spark`` is the module that Spark starts once per executor (``spark.python.daemon.module``).
"""
