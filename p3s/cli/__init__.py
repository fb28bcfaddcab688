"""The command line: parse, call the client, print, exit code.

``tree.py`` lists every command with the module that holds it; ``main.py`` runs them; ``common.py`` and
``output.py`` hold what all share; every other module is named after its noun.
"""
