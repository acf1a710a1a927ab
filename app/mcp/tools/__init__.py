"""The tools of the MCP door, by what they are about."""
