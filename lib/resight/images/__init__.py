"""Images: files of a source in, rows about them and their pixels out.

A source is listed and compared with the collection (`sources`, `listing`, `manifest`, `tar`, `spark`);
what is new or changed is read and described (`content`, `ingest`, `inspect`). One function decodes for
the whole system, by content and never by name (`decode`, with `modes` and `exif`, after EXIF 2.32, CIPA
DC-008-2019), and `resize` gives a network its input size without distortion.

Reads and writes ``sources``, ``images`` and ``previews``.
"""
