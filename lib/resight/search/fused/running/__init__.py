"""The fused ranking as a job runs it, from the inputs of its run.

Modules: ``spark``. Reads ``images``, ``local_descriptors`` and an index; gives packed answers.
"""
