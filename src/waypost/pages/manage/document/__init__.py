"""The description of the management API, for OpenAPI. Knows nothing of the deeds."""
