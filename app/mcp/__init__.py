"""The MCP door: tools at `/mcp` that carry out calls of the API with the caller's own credential."""
