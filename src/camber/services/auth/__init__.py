"""Verifies users' tokens, by keys that are fetched and kept beside the requests that need them."""
