"""Bits that stand for an image, and pairs of images whose bits are equal or nearly so.

Modules: `perceptual` (hashes of pixels in eight positions), `learned`, `autoencoder` and `subspaces` (hash
functions fitted on descriptors), `deep` (layers of Boltzmann machines), `kinds` (their names), `plan`
(whether codes are scanned or looked up by parts), `hamming` (the compiled comparison), `buckets` (where codes
of a distributed join meet), `work` (rows of `codes`), `spark` (the operators). Reads ``previews`` or
``global_descriptors``, writes ``codes`` and ``models``.
"""
