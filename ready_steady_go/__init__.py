__version__ = "0.1.0"

# The public names, and where each of them is. They are imported when they are first used, so `import ready_steady_go` loads nothing heavy.
_PLACES = {
    "benchmark": ("commands.python", "benchmark"), "read": ("commands.python", "read"), "Results": ("commands.python", "Results"),
    "tune": ("commands.tune", "tune_model"), "quality": ("commands.quality", "compare_quality"), "Record": ("store.record", "Record"), "Spec": ("spec.spec", "Spec"),
    "UserError": ("spec.errors", "UserError"), "Workload": ("training.workload", "Workload"),
}
__all__ = [*_PLACES]

TYPE_CHECKING = False  # type checkers take it for True; importing typing would take as long as everything else here
if TYPE_CHECKING:
    from .commands.python import Results, benchmark, read
    from .commands.quality import compare_quality as quality
    from .commands.tune import tune_model as tune
    from .spec.errors import UserError
    from .spec.spec import Spec
    from .store.record import Record
    from .training.workload import Workload


def __getattr__(name):
    "Import a public name."
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    module, inner = _PLACES[name]
    return getattr(import_module(f"{__name__}.{module}"), inner)


def __dir__():
    "Return all names, those that are not yet imported too."
    return sorted({*globals(), *_PLACES})
