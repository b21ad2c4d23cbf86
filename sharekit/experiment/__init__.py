"""The paper's experiments, composed of the public commands of both sides."""
