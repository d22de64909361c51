"""`python -m pipeline …` is `wit …`; Ray jobs are started this way."""

import sys

from pipeline.cli import main
from pipeline.submit import go_home

go_home()
sys.exit(main())
