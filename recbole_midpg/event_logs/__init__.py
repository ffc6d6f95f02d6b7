"""A user's own log of events: what its columns mean, its files, and a dataset made of them."""
