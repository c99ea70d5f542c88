"""How two photos relate: candidate transforms, the aligned pixels, and the word for what they say.

Modules: ``settings``, ``views`` (a photo made ready to be compared), ``align`` (which transforms may lay one
over the other), ``compare`` (the aligned pixels, block by block), ``echoes`` (whether one photo shows faintly
through all of the other), ``seams`` (whether the outline of a part is an edge of the whole), ``differ``
(small places that differ), ``relation`` (what was found), ``decide`` (the word), ``work`` (chunks of images
and pairs), ``spark`` (over the executors). Writes `DUPLICATE_CANDIDATES`.
"""
