"""Pure tensor functions; they know neither factors nor models."""
