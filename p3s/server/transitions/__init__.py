"""Who writes a state: every change is one guarded statement with its event row in the same transaction.

``ledger`` moves rows, ``spread`` tells successors what ended, ``claims`` mints attempts, ``reports`` takes what
pilots say of them, ``ends`` cancels, ``leases`` ends what fell silent, ``store`` writes new workflows.
"""
