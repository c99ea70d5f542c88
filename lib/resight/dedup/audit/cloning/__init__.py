"""A clone of a workspace: its newest builds under their own ids, where jobs run and change nothing of it.

Module: `spark`.
"""
