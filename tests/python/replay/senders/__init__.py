"""One module per package: how it sends a recorded request."""
