"""The attacks of the audit, one module each."""
