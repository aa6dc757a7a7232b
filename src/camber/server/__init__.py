"""Bytes in, bytes out: the only place that knows HTTP, ASGI, WebSockets and JSON envelopes.

An *exchange* is one request and the answer to it. A *transport* makes exchanges: the listener
(sockets of our own) or any ASGI server. An *application* answers them, and cannot tell the
transports apart.
"""
