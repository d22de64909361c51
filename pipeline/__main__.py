"""`python -m pipeline …` is `wit …`."""

import sys

from pipeline.cli import main

sys.exit(main())
