"""E-steps that a model may be given."""
