"""A mesh's own configurations, made a scenario."""
