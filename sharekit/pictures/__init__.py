"""The contract for pictures and masks, which both sides share."""
