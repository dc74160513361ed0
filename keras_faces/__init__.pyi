from . import callbacks as callbacks
from . import checkpoints as checkpoints
from . import data as data
from . import export as export
from . import latent as latent
from . import metrics as metrics
from . import models as models
from . import pictures as pictures
from . import plan as plan
from . import recipes as recipes
from . import reports as reports
from . import runs as runs
from . import saving as saving
from . import training as training
from .data import list_datasets as list_datasets
from .errors import UserError as UserError
from .models import create_model as create_model
from .models import list_models as list_models
from .plan import TrainingPlan as TrainingPlan
from .process import prepare_process as prepare_process
from .recipes import list_recipes as list_recipes
from .reports import list_reports as list_reports
from .reports import reproduce as reproduce
from .saving import load_model as load_model
from .session import resume as resume
from .session import train as train

__version__: str
