"""Which builds of build-graph are graphs of images, of regions, or of images by fused similarity."""

from resight.workspace import Run


def of_images(graph: Run) -> bool:
    """Whether a build is a graph of images by one descriptor."""
    return not (of_regions(graph) or of_fused(graph))


def of_regions(graph: Run) -> bool:
    """Whether a build is a graph of regions."""
    return graph.settings.get("of") == "regions"


def of_fused(graph: Run) -> bool:
    """Whether a build is a graph of images by fused similarity."""
    return graph.settings.get("of") == "fused"
