"""From settings to a running server: directories and secrets, the engine's parts, the application, the sockets.

`app.bootstrap.server.run` serves until a signal comes. Nothing is imported here, so that commands which only need a
file's path stay quick.
"""
