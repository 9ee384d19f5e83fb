"""Who asks: the page's own scripts or a program, and not another site that is open in a visitor's browser."""

import ipaddress
import urllib.parse


def is_loopback(name):
    """Whether a host's name is this machine's, as only itself can reach it."""
    try:
        return name == "localhost" or ipaddress.ip_address(name or "").is_loopback
    except ValueError:
        return False


def is_foreign(headers, alone):
    """Whether a request is another site's.

    A browser says from which site a script's request comes: by ``Sec-Fetch-Site``, where it knows that header and trusts the address, and
    else by ``Origin``, to be compared with the address that it asked (https://www.w3.org/TR/fetch-metadata). Both are absent of programs,
    and ``Origin`` of links and addresses that are typed.

    Args:
        headers: pairs of bytes, names in lower case.
        alone: whether the page is this machine's alone: it then has no other name. One that another site turned to this machine (DNS
            rebinding) would make that site's scripts the page's own.
    """
    found = {name: value.decode("latin-1").strip().lower() for name, value in headers}
    host, origin, site = (found.get(name) for name in (b"host", b"origin", b"sec-fetch-site"))
    try:
        if alone and host and not is_loopback(urllib.parse.urlsplit(f"//{host}").hostname):
            return True
        if origin is None:
            return False
        return site not in ("same-origin", "none") if site else urllib.parse.urlsplit(origin).netloc != host
    except ValueError:
        return True
