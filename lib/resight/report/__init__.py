"""One self-contained HTML page about a workspace, made for people.

Data and drawing are apart: `collect` reads the committed tables and fills frozen dataclasses, each section
draws itself, and `page` puts the sections into one file that opens anywhere, offline. A further page of the
report is one more section: a dataclass with ``anchor``, ``title``, ``image_ids()`` and ``render()`` beside
the others, and the function that fills it in the list of `collect`.

Modules: `markup` (elements whose text is always escaped, numbers as people write them), `figures` (photos,
strips, bars, histogram), `sections` (what a section is), `numbers`, `groups`, `neighbours`, `failures`,
`metrics` (the sections), `compare` (a copy laid over the kept photo, marks), `style`, `script` and
`compare_parts` (inlined), `page`, `collect`; the package `learning` (mined pairs, objects, training).

Reads ``sources``, ``images``, ``previews``, ``global_descriptors``, ``neighbors``, ``duplicate_pairs``,
``duplicate_groups``, ``audits``, ``metrics``, what `learning` reads and the committed runs; writes no table.
"""
