"""The option --import, which all commands take that read recipes, run folders, models or data sets."""

import inspect
from collections.abc import Callable
from typing import Annotated, Any

import tyro

from trapmid.cli.running import loading

Imports = Annotated[tuple[str, ...], tyro.conf.arg(metavar="MODULE:NAME ...", name="import", help_behavior_hint="")]
_ABOUT = (
    "attacks, defenses, metrics and readers of your own to use, by their import paths, e.g. --import "
    "my_module:MyAttack. "
    "Modules are looked for in the working directory, too."
)


def importing(command: Callable[..., int | None]) -> Callable[..., int | None]:
    """Give a command the option --import, which imports members before the command does anything else."""

    def run(*arguments: Any, own: tuple[str, ...] = (), **options: Any) -> int | None:
        if own:
            with loading():
                from trapmid.catalogue import import_members
            import_members(own)
        return command(*arguments, **options)

    option = inspect.Parameter("own", inspect.Parameter.KEYWORD_ONLY, default=(), annotation=Imports)
    signature = inspect.signature(command)
    signature = signature.replace(parameters=[*signature.parameters.values(), option])
    run.__signature__ = signature  # type: ignore[attr-defined]
    run.__annotations__ = {name: parameter.annotation for name, parameter in signature.parameters.items()}
    run.__name__, run.__doc__ = command.__name__, f"{inspect.cleandoc(command.__doc__ or '')}\n    own: {_ABOUT}\n"
    vars(run).pop(
        "__wrapped__", None
    )  # tyro reads the function that is wrapped there, which has no signature of its own
    return run
