"""The sync protocol: a client's queries kept up to date over a WebSocket.

`messages` are values, `wire` their bytes, `session` decides, `socket` waits.
"""
