"""Ways of running EM: arithmetic on statistics and parameters that knows no model."""
