"""Conditional distributions p(target | state, given): the leaves of every model."""
