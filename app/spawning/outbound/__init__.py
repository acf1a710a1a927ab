"""Signed HTTP requests to URLs that the settings allow; HTTP workers and webhooks are called with them."""
