"""Actions, in processes of their own: what they do wrong there, they do to themselves.

pool      which processes there are, and who takes the next call
process   one of them as the server sees it: its calls, its limits, its end
channel   frames between the two; `messages` is what they say, `raised` how errors travel
worker    the process from inside; `running` is one call in it, `output` what it prints
context   `ctx`, as the author of an action knows it
host      what is asked of the server
"""
