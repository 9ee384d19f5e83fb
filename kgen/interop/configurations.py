"""Configurations of others: each key is known and has a value that is honoured, or it is refused by its name."""


def known(config, where, defaults, fixed):
    """A configuration with its defaults filled in, checked.

    Args:
        config: dict, as it stands in the file.
        where: the file, for the errors.
        defaults: dict from each known key to what the library takes where it is not there.
        fixed: dict from a key to the tuple of the values that kgen can honour.
    Returns:
        dict with the keys of ``defaults``.
    Raises:
        ValueError: a key is unknown, or its value is none of these.
    """
    unknown = [key for key in config if key not in defaults and not key.startswith("_")]
    if unknown:
        raise ValueError(
            f"{where}: {unknown[0][:80]}: expected keys that kgen knows, received this one, {config[unknown[0]]!r:.80}, which may change what is "
            "computed."
        )
    config = {**defaults, **{key: value for key, value in config.items() if key in defaults}}
    for key, allowed in fixed.items():
        one_of(config, where, key, allowed)
    return config


def one_of(config, where, key, allowed):
    """The value of ``key``, which must be one of ``allowed``."""
    value = config[key]
    if not any(type(value) in (type(a), int, float) and value == a for a in allowed):
        raise ValueError(
            f"{where}: {key}: expected {' or '.join(json_word(a) for a in allowed)}, received {json_word(value)}, which kgen has not."
        )
    return value


def integer(config, where, key, least=1, most=2**20):
    """The value of ``key``, an integer within bounds."""
    value = config[key]
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ValueError(f"{where}: {key}: expected an integer of {least} to {most}, received {json_word(value)}.")
    return value


def number(config, where, key, least, most):
    """The value of ``key``, a number within bounds."""
    value = config[key]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
        raise ValueError(f"{where}: {key}: expected a number of {least:g} to {most:g}, received {json_word(value)}.")
    return value


def boolean(config, where, key):
    """The value of ``key``, true or false."""
    return one_of(config, where, key, (True, False))


def listed(config, where, key, check):
    """The value of ``key``, a list of which ``check`` takes each."""
    value = config[key]
    if not isinstance(value, (list, tuple)) or not value or len(value) > 32 or not all(check(v) for v in value):
        raise ValueError(f"{where}: {key}: expected a list such as diffusers writes, received {json_word(value)}.")
    return list(value)


def json_word(value):
    """A value as a JSON file has it, cut where it is long."""
    words = {None: "null", True: "true", False: "false"}
    text = words[value] if value is None or isinstance(value, bool) else repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
