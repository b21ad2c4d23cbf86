"""Data-set folders: writing, describing and reading them."""
