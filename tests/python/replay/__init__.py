"""Recorded requests, sent again with the providers' real packages."""
