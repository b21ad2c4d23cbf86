"""The paper's experiments as compositions of the two sides' public commands."""
