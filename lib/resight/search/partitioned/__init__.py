"""Search over a graph that no machine holds: observe, solve in a barrier stage, rank.

The same answers as `resight.search.spark.search` with the method ``diffusion``; only the scores come from
`resight.diffusion.partitioned`. Module: ``spark``.
"""
