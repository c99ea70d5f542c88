"""Who asks: images of the collection, or files, described as the method of a search wants it.

Modules: ``spark``. Reads the descriptors of a run; gives rows of ``queries`` and what is ranked with.
"""
