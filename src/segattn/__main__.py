"""`python -m segattn`."""

import sys

from segattn.cli.main import main

sys.exit(main())
