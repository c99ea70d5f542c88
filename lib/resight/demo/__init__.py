"""The demo collection: some 400 photographs with their ground truth, made on the spot.

Real photographs that the packages of the ``demo`` extra carry are seen again from other sides, in
other light, cut, blurred, partly hidden or as a print on some ground; copies, broken files and
photographs that match nothing come on top. The same seed and the same package versions give the same
bytes.

Modules: `photos` (where each photograph comes from), `views` (another look at one), `formats` (image
files, usual, unusual and broken), `collection` (which files there are, and the truth about them).
``python -m resight.demo FOLDER`` writes it. No tables are read or written.
"""
