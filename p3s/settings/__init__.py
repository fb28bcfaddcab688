"""Every setting, and the only reader of the environment.

Where a value comes from, the first that has one: the option, the environment, ``./p3s.toml``, the user's
config file (with the context in use), the server of the last `p3s login`, what runs in the home folder, the
default.

What is here is told by ``__init__.pyi``; a name is imported when somebody first asks for it, since most commands need
few of them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
