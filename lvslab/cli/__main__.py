"""`python -m lvslab.cli`: the command line inside a prepared environment."""

import sys

from lvslab.cli.main import main

sys.exit(main())
