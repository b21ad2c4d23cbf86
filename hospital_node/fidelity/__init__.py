"""How good are the samples? Figures between the node's real images and its generators; they never leave."""
