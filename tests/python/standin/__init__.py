"""The parts of the provider stand-in; `provider.py` starts it."""
