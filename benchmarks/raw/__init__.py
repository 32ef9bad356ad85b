"""The hand-written side: the best known statements on the bare drivers, as an expert would write them.

Connections are kept open and handed out without any check, which is less work than a pool does.
"""
