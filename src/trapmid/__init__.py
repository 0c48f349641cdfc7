"""Train image classifiers that resist model inversion, attack classifiers with it, and report the difference.

`__init__.pyi` beside this file lists the public names. Each is imported when it is first used, so that `import
trapmid` takes no time.
"""

import lazy_loader

__version__ = "1.0.0rc1"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
