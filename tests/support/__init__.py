"""Real servers and the means to wait for them. Nothing here imitates the code under test."""
