"""The web console: static pages, served by the node itself, that show the swarm live and let a person act on it.

The pages use the public API alone, with the token that their user holds.
"""
