#!/usr/bin/env python3
"""The command line of lvslab: prepares the Python packages, then hands over to lvslab.cli.

Needs Python 3.11 to 3.14 and its standard library. `python3 build.py --help` lists the verbs.
"""

import os
import sys

VERSIONS = ((3, 14), (3, 13), (3, 12), (3, 11))


def other_python() -> "str | None":
    """The path of a Python that will do, when this one will not; None if there is none."""
    import shutil
    import subprocess

    for version in VERSIONS:
        found = shutil.which(f"python{version[0]}.{version[1]}")
        if found and subprocess.call([found, "-c", ""], stderr=subprocess.DEVNULL) == 0:
            return found
    return None


def main() -> int:
    """Run the verb; return the exit status."""
    if sys.version_info[:2] not in VERSIONS:
        found = other_python()
        if found:
            os.execv(found, [found] + sys.argv)
        this = ".".join(map(str, sys.version_info[:2]))
        sys.stderr.write(f"error: Python 3.11 to 3.14 is needed, this is {this}\n")
        return 3

    from pathlib import Path

    from lvslab.core import venv
    from lvslab.core.errors import LabError
    from lvslab.core.places import default_cache

    verb = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
    more = verb in ("docs", "release", "test")  # what those need who change the project
    name = "requirements-test.lock" if more else "requirements.lock"
    lock = Path(__file__).resolve().with_name(name)
    try:
        cache = default_cache().absolute()
        if "_BUILD_PY_COMPLETE" in os.environ and not venv.ready(venv.folder(cache, lock)):
            return 0  # a shell asks for completion: no time to prepare anything
        place = venv.ensure(cache, lock, lambda text: print(text, file=sys.stderr))
    except LabError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.status
    except (OSError, RuntimeError) as error:  # RuntimeError: a user without a home
        print(f"error: {error}\n  to fix it: set LVSLAB_CACHE to a folder", file=sys.stderr)
        return 3
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    if Path(sys.prefix).resolve() != place.resolve():
        os.execv(venv.python(place), [str(venv.python(place)), *sys.argv])
    if sys.dont_write_bytecode and not sys.pycache_prefix:
        # Nothing beside the sources then. To compile all of them at each start takes as long as
        # what most verbs do.
        sys.pycache_prefix, sys.dont_write_bytecode = str(cache / "bytecode"), False

    from lvslab.cli.main import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
