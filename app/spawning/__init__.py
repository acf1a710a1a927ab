"""How an agent is started: the spawner port and the stack that wraps a spawner in layers.

Adapters start agents by one technology each, layers add one behaviour each (a limit, a retry, a deadline) around any
spawner. Neither knows tasks or tables: they receive an attempt to start and report how it ended.
"""
