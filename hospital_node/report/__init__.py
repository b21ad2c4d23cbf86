"""The hospital's own page of a node: sources and samples. It holds real images and never leaves."""

WARNING = "Contains real images: never leaves the node."
