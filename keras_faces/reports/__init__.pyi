from . import base as base
from . import page as page
from . import rows as rows
from . import schema as schema
from .networks import plot_networks as plot_networks
from .rebuild import reproduce as reproduce
from .registry import REPORTS as REPORTS
from .registry import list_reports as list_reports
