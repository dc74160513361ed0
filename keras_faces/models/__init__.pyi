from . import base as base
from . import losses as losses
from .base import FaceModel as FaceModel
from .registry import MODELS as MODELS
from .registry import check_hyperparameters as check_hyperparameters
from .registry import create_model as create_model
from .registry import documentation as documentation
from .registry import hyperparameters as hyperparameters
from .registry import list_models as list_models
from .registry import list_samplers as list_samplers
from .registry import model_name as model_name

# The models' classes.
def __getattr__(name: str) -> type[FaceModel]: ...
