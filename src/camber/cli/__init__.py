"""The command line: serve an app while it is written, serve it for good, and talk to it.

`main` is the door; each command is a module of its own, imported when it is asked for. The other
modules are what the commands share: what camber.toml says (`config`), a deployment behind its two
ports (`node`), where a running server is found (`address`, `target`), how it is spoken to
(`client`), and what the terminal shows (`terminal`, `banner`, `function_log`).
"""
