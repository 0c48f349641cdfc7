from . import attacks as attacks
from . import data as data
from . import defenses as defenses
from . import metrics as metrics
from . import models as models
from . import priors as priors
from . import starts as starts
from . import subjects as subjects
from . import targets as targets
from . import testing as testing
from .attacks import invert as invert
from .audit import Recipe as Recipe
from .audit import run_audit as run_audit
from .comparison import compare as compare
from .defenses import Defended as Defended
from .defenses import open_model as open_model
from .defenses import train as train
from .detection import Detector as Detector
from .errors import UserError as UserError
from .recipes import choose_recipe as choose_recipe
from .report import audit_model as audit_model
from .report import write_report as write_report
from .trapdoor import OnePassTrapdoor as OnePassTrapdoor
from .trapdoor import Secrets as Secrets
from .trapdoor import Trapdoor as Trapdoor
from .trapdoor import TrapdoorSettings as TrapdoorSettings

__version__: str
