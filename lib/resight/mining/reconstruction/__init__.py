"""Pairs of images from 3D reconstructions: what sees the same points, seen from where.

Modules: ``colmap`` (models as COLMAP writes them, text and binary), ``covisible`` (queries and positives),
``nearest`` (hard negatives), ``work`` (one model or block), ``spark``.
"""
