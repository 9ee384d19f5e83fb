"""Who may log in: a file of names and hashed passwords."""

import base64
import hashlib
import hmac
import os
import pathlib
import secrets

COST = {"n": 2**14, "r": 8, "p": 1}  # of scrypt: about 50 ms a try


def hashed(password, salt=None):
    """A password as the file has it: ``scrypt$salt$hash``, both in base 64."""
    salt = secrets.token_bytes(16) if salt is None else salt
    key = hashlib.scrypt(password.encode(), salt=salt, **COST)
    return "$".join(["scrypt", *(base64.b64encode(part).decode() for part in (salt, key))])


def add(path, name, password):
    """Adds a user to a file, which is made where it is not there, for its owner alone."""
    if not name or any(c in name for c in ":\r\n") or not password:
        raise ValueError(f"name: expected a name without a colon, and a password, received {name!r}.")
    path = pathlib.Path(path)
    known = read(path) if path.exists() else {}
    known[name] = hashed(password)
    text = "".join(f"{user}:{secret}\n" for user, secret in known.items())
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)


def read(path):
    """Dict from each name in a file to its hashed password.

    Raises:
        FileNotFoundError: it is not there.
        ValueError: a line is not NAME:HASH, or there is none.
    """
    path, found = pathlib.Path(path), {}
    if not path.is_file():
        raise FileNotFoundError(
            f"--auth-file: {path} does not exist. Make it: kgen demo --add-user NAME --auth-file {path}"
        )
    for i, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line.strip():
            name, _, secret = line.strip().rpartition(":")
            if not name or secret.count("$") != 2 or not secret.startswith("scrypt$"):
                raise ValueError(f"{path}, line {i}: expected NAME:HASH as --add-user writes it.")
            found[name] = secret
    if not found:
        raise ValueError(f"{path}: expected at least one user, received none.")
    return found


def checker(known):
    """A function that says whether a name and a password belong together; unknown names take as long as wrong passwords."""
    nobody = hashed(secrets.token_hex())

    def check(name, password):
        secret = known.get(name, nobody)
        salt = base64.b64decode(secret.split("$")[1])
        return hmac.compare_digest(hashed(password, salt), secret) and name in known

    return check
