"""Pull releases from a repository of The Update Framework, verified before anything is opened."""
