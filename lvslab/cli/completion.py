"""`completion`: a script for the shell."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from lvslab.cli.common import session, verb


@verb(
    "completion",
    """
    completion bash >> ~/.bashrc
    completion zsh >> ~/.zshrc
    completion fish > ~/.config/fish/completions/build.py.fish
    """,
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print a script that completes `./build.py` in a shell."""
    from lvslab.cli.main import COMPLETE_VARIABLE

    kind = get_completion_class(shell)
    assert kind is not None
    top = context.find_root().command
    session().out(kind(top, {}, "build.py", COMPLETE_VARIABLE).source())
