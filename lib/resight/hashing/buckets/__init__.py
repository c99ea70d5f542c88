"""Buckets of codes in which a distributed join compares: those whose parts are equal, or all of them.

Module: `spark`. A code lies in the buckets of its own parts (held) and asks in those that the plan of the
join names. Where only some images are new, the new ones ask all codes and the others ask the new ones: in no
bucket would two others meet. A large bucket is cut into blocks, and each two of them are compared by
themselves; one beyond a limit is left out, and counted.
"""
