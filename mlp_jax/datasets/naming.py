"""How a data set is named on one line: a place, and settings behind it, ``iris.csv:label=species:standardize=yes``.

Settings are part of the name, so that a run that records the name reads its data in the same way again. A colon needs
no quotes in any shell.
"""

import re
from collections.abc import Mapping

from mlp_jax.errors import DataError, InputError, shown
from mlp_jax.tasks import get_task

_SETTING = re.compile(r":(?=[a-z_]+=)")

FORMS = (
    "mnist, tfds:NAME, sklearn:NAME, hf:NAME, a CSV file or a directory with train.csv, a directory of images in a "
    "folder for each class, a directory of IDX files, or an .npz file"
)
"""What ``load_dataset`` takes, for messages and help."""


def split_settings(name: str) -> tuple[str, dict[str, str]]:
    """Divide a name into the place of the data and the settings behind it, by name.

    Raises:
        DataError: a setting is given twice.
    """
    place, *settings = _SETTING.split(name)
    pairs = [tuple(setting.split("=", 1)) for setting in settings]
    if len({key for key, _ in pairs}) < len(pairs):
        raise DataError(f"{name!r}: a setting is given twice: expected each once")
    return place, dict(pairs)


def check_known(settings: Mapping[str, str], known: tuple[str, ...]) -> None:
    """Raise DataError if there is a setting that the data do not have."""
    for key in settings:
        if key not in known:
            expected = f"{', '.join(known)}, as in NAME:{known[0]}=..." if known else "none, for data of this form"
            raise DataError(f"unknown setting {key}: expected {expected}")


def yes_or_no(settings: Mapping[str, str], key: str) -> bool | None:
    """What a setting that is yes or no says; None if it is not given."""
    if key not in settings:
        return None
    if settings[key] not in ("yes", "no"):
        raise DataError(f"{key} is {shown(settings[key])}: expected yes or no")
    return settings[key] == "yes"


def task_setting(settings: Mapping[str, str]) -> str | None:
    """The task that a setting names; None if it is not given."""
    try:
        return get_task(settings["task"]).name if "task" in settings else None
    except InputError as error:
        raise DataError(str(error)) from None
