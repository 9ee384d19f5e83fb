"""Opens a page to play with models: `kgen demo`."""

import os
import pathlib
import signal
import sys

import click

from kgen.tools.command import use_backend

LOOPBACK = ("127.0.0.1", "::1", "localhost")


@click.command()
@click.argument("paths", nargs=-1, metavar="PATH...")
@click.option("--port", type=click.IntRange(1, 65535), help="7860 or the next that is free, if not given.")
@click.option(
    "--host", help="An address of this machine to be reached at from others, such as 0.0.0.0; needs --auth-file."
)
@click.option(
    "--auth-file", type=click.Path(), help="Who may log in: a line NAME:HASH each, as --add-user writes them."
)
@click.option("--add-user", metavar="NAME", help="Ask for a password, add NAME to --auth-file, and end.")
@click.option("--certificate", type=click.Path(exists=True, dir_okay=False), help="TLS certificate, PEM.")
@click.option("--key", type=click.Path(exists=True, dir_okay=False), help="Its private key, PEM.")
@click.option("--space", type=click.Path(), metavar="FOLDER", help="Write what a hub's Space runs to FOLDER, and end.")
@click.option("--browser/--no-browser", default=None, help="Open a browser; by default where there is a screen.")
@click.option("--backend", help="tensorflow, jax or torch.")
def demo(paths, port, host, auth_file, add_user, certificate, key, space, browser, backend):
    """Open a page to play with the models in PATH...: .keras files, runs' or presets' folders, presets' names or addresses.

    \b
    Examples:
      kgen demo ddpm_digits
      kgen demo saved_models/vae_digits gpt_python --port 8080
      kgen demo ddpm_digits --add-user ada --auth-file users.txt
      kgen demo ddpm_digits --host 0.0.0.0 --auth-file users.txt --certificate page.pem --key page.key
      kgen demo ddpm_digits --space my_space
    """
    from kgen.tools.demo import users

    if add_user is not None:
        if auth_file is None:
            raise click.UsageError("--add-user: name the file to write to by --auth-file.")
        users.add(auth_file, add_user, click.prompt("Password", hide_input=True, confirmation_prompt=True))
        return click.echo(f"{add_user} may log in: {auth_file}")
    if not paths:
        raise click.UsageError("name at least one model: kgen demo ddpm_digits. kgen presets lists what comes trained.")
    if (certificate is None) != (key is None):
        raise click.UsageError("--certificate, --key: expected both, or neither.")
    away = host is not None and host not in LOOPBACK
    if away and auth_file is None:
        raise click.UsageError(
            f"--host: others can reach {host}: say who may log in by --auth-file (--add-user makes one)."
        )
    known = None if auth_file is None else users.read(auth_file)
    _check_port(host or "127.0.0.1", port)
    use_backend(backend)
    from kgen.tools import demo as room

    if space is not None:
        from kgen.tools.demo import space as spaces

        return click.echo(f"Written: {spaces.write(paths, space)}. Try it: python {pathlib.Path(space) / 'app.py'}")
    page = room.page(*paths)
    if away and certificate is None:
        click.echo(
            "Without TLS, passwords and pictures travel in the clear: --certificate and --key turn it on.", err=True
        )
    if browser is None:
        browser = bool(
            os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY") or sys.platform in ("darwin", "win32")
        )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # so that what Python does at its end is done
    _, url, _ = page.launch(
        server_name=host or "127.0.0.1",
        server_port=port,
        auth=None if known is None else users.checker(known),
        ssl_certfile=certificate,
        ssl_keyfile=key,
        ssl_verify=False,  # of Gradio's own first look at the page
        inbrowser=browser,
        prevent_thread_lock=True,
    )
    click.echo(f"{', '.join(paths)}: {url}   (Ctrl-C ends it)")
    page.block_thread()
    return None


def _check_port(host, port):
    """Raises UsageError where a port that was asked for is taken: before a model is loaded."""
    import socket

    if port is None:
        return
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise click.UsageError(
            f"--port: {port} of {host} cannot be had ({error.strerror or error}). Name another."
        ) from None
