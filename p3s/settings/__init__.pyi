from .addresses import DEFAULT_PORT, is_loopback, normalise_url
from .client import (
    ClientSettings,
    allows_color,
    find_authorities,
    list_secret_files,
    read_client_settings,
    store_login,
)
from .contexts import Context, Contexts, find_config, read_contexts, use_context
from .files import read_secret, write_private
from .home import Home, find_database, find_home, make_local_environ, read_home_token, read_running
from .server import ServerSettings, find_notify, read_counts, read_durations, read_log_settings, read_policy

__all__ = [
    "DEFAULT_PORT",
    "ClientSettings",
    "Context",
    "Contexts",
    "Home",
    "ServerSettings",
    "allows_color",
    "find_authorities",
    "find_config",
    "find_database",
    "find_home",
    "find_notify",
    "is_loopback",
    "list_secret_files",
    "make_local_environ",
    "normalise_url",
    "read_client_settings",
    "read_contexts",
    "read_counts",
    "read_durations",
    "read_home_token",
    "read_log_settings",
    "read_policy",
    "read_running",
    "read_secret",
    "store_login",
    "use_context",
    "write_private",
]
