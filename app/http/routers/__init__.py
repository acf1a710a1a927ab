"""The routes, one module per audience: operator, worker, senior, events, health."""
