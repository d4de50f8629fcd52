"""Training: configurations, schemes and runs."""
