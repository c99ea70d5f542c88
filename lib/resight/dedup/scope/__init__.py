"""Which images are looked at: those that a filter allows, and a delivery against an archive.

Module: `spark`. Of a delivery B and an archive A, pairs with a member in B are looked for, and no others:
what A holds of copies was found when A was looked through.
"""
