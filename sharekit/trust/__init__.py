"""The keys that a user trusts: per hospital, with validity, revocation and hand-over."""
