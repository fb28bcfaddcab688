"""Every request and reply body, once, shared by server, client and pilot.

Requests refuse unknown fields, so a misspelt one is told. Replies ignore them, so an older client or pilot works
with a newer server. Times are seconds since 1970-01-01 UTC by the server's clock; durations are seconds; sizes
are bytes; ids are uuids as text.

What is here is told by ``__init__.pyi``; a name is imported when somebody first asks for it, since most commands need
few of them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
