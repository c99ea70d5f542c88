"""Searches over the shards of an index: its files, and queries x shards on Spark.

Modules: ``index`` (what a search opens), ``damage`` (shards that are not what was written), ``recipe``,
``pack`` (rows between tasks), ``spark`` (queries in, rankings out). Reads ``shards``,
``image_stats``, ``word_stats`` and the codebook among ``models``; gives ``results``.
"""
