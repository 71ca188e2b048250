"""``python -m clipn``: the program."""

import sys

from ._cli import main

sys.exit(main())
