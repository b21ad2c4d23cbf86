"""The contract for pictures and masks that both sides read."""
