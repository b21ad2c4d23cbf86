"""The bundle contract: manifest, statistics, signature."""
