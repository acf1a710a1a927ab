"""Asking people from any program: a question, or approval of an action, that is found again after a kill or days later.

`SwarmholdClient.asking` returns a `Hold`. What makes an ask the same is its `once`: a program that runs again with the
same `once` and the same content finds the question that it asked before, and its answer. An approval is consumed before
it is returned, so that an action which may have begun is never begun again.

`tool_uses` asks about the tools of a model, and `stores` keeps its run meanwhile: the adapters are these two, and what
a framework calls its own.
"""

from swarmhold.asking.hold import AlreadyConsumed, Decision, Hold

__all__ = ["AlreadyConsumed", "Decision", "Hold"]
