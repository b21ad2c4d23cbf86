"""What a generator gives away: attacks on the very bytes that would leave, and the verdict in words."""
