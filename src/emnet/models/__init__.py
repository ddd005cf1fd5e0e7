"""Latent structures: graphs of factors with the posterior that belongs to each."""
