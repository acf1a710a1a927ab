"""The approval provider: the provider's side of the Agent Approval Protocol, over questions about actions."""
