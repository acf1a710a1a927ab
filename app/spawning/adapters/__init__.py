"""Spawners, one technology per module: a function in this process, an operating-system process, a queue that workers
poll, a registered backend, an HTTP endpoint, or nothing at all.
"""
