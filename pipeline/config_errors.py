"""What ends a command whose config, arguments or inputs are wrong."""


class ConfigError(ValueError):
    """The config cannot be run; the message is one sentence that names the key and the fix."""
