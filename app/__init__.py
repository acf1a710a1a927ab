"""Swarmhold: a durable orchestration server for swarms of agents.

The package holds, from the inside out: the values and rules (`domain`), their durable form (`state`), the operations on
it (`engine`), the ways an agent is started (`spawning`), hints between nodes (`bus`), and the edges that people and
programs talk to (`http`, `ws`, `console`, `cli`).
"""

__version__ = "0.1.0"
