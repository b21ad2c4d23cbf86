"""Which image trains where, and what happens when its worker dies: training on Ray, with Ray closed."""
