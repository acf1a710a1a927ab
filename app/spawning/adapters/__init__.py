"""Spawners, one technology per module: a function in this process, an operating-system process, a worker that polls,
a person, an HTTP endpoint.
"""
