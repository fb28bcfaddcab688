"""What the server does, one function per wish: a transaction around transitions, then who is to be woken."""
