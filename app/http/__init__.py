"""The HTTP edge: the ASGI application, authentication, problem documents and idempotency.

It turns requests into calls of the engine and the engine's errors into problem documents by one table. No rule of the
swarm is decided here.
"""
