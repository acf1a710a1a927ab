"""From settings to a running server: directories and secrets, the parts of the engine, the application, its socket.

`app.bootstrap.server.run` serves until a signal comes. Nothing is imported here, so that commands which only need a
file's path stay quick.
"""
