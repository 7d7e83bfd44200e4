"""`completion`: a script for the shell."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from lvslab.cli.common import session, verb
from lvslab.core.places import IN_CHECKOUT


@verb(
    "completion",
    """
    completion bash >> ~/.bashrc
    completion zsh >> ~/.zshrc
    completion fish > ~/.config/fish/completions/lvslab.fish
    """,
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print a script that completes `./build.py`, or `lvslab` if installed, in a shell."""
    from lvslab.cli.main import COMPLETE_VARIABLE

    kind = get_completion_class(shell)
    assert kind is not None
    top = context.find_root().command
    session().out(
        kind(top, {}, "build.py" if IN_CHECKOUT else "lvslab", COMPLETE_VARIABLE).source()
    )
