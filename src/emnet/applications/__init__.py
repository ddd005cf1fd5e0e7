"""What any fitted model can be used for; no training here, and no model known by name."""
