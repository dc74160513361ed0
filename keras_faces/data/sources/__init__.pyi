from .base import LEFT_OUT as LEFT_OUT
from .base import Entry as Entry
from .base import Source as Source
from .schemes import DATASETS as DATASETS
from .schemes import SCHEMES as SCHEMES
from .schemes import as_recorded as as_recorded
from .schemes import open_source as open_source
