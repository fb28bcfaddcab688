"""How the documentation is built; `make docs` does it, offline, with warnings as errors."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from p3s import __version__

# Sphinx shows what others log while it reads the code.
logging.getLogger("alembic").setLevel(logging.WARNING)

project = "p3s"
author = "the p3s authors"
release = version = __version__
extensions = ["myst_parser", "_ext.reference"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"p3s {__version__}"
# Nothing is fetched from elsewhere, neither when building nor when reading.
html_use_index = False
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4
