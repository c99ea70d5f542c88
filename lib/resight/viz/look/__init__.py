"""What the notebooks show: each function reads the tables of an open workspace and gives a figure.

Where a table was never written, it gives the sentence that names the job to run. Tables as long as the
collection are streamed or sampled by a hash of the id, so the same tables give the same figures.

Modules: `workspace` (open it), and one for each notebook: `index`, `search`, `duplicates`, `mined`,
`objects`, `training`.
"""
