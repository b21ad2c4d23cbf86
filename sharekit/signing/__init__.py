"""Keys, envelopes and signatures."""
