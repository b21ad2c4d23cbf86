"""Signing and verification: keys, envelopes and signatures."""
