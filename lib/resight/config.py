"""Typed, frozen, closed settings of a job: the TOML file, the options and ``--help`` derive from them.

A setting is an annotated field: ``depth: Annotated[int, Meta(ge=1, description="...")] = 100``.
Settings that change how a job runs but not what it computes are declared with `execution` and stay out
of the digest.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Set
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from resight import files

if TYPE_CHECKING:
    from resight.reader import Reader
    from resight.store import TableStore

__all__ = ["Config", "Meta", "SettingError", "execution", "load_config", "require_local", "setting_meta"]


class SettingError(ValueError):
    """A setting, an option or an input that cannot work: the command line answers with exit status 2."""


def execution(description: str, **limits: Any) -> Meta:
    """Describe a setting that does not change what is computed (chunk sizes, partitions)."""
    return Meta(description=description, extra={"execution": True}, **limits)


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every job's settings."""

    def content(self) -> dict[str, Any]:
        """Give the settings that decide what is computed, by name."""
        hints = get_type_hints(type(self), include_extras=True)
        values = msgspec.to_builtins(self)
        return {k: values[k] for k in sorted(values) if not is_execution(hints[k])}

    @property
    def digest(self) -> str:
        """Hash of `content`."""
        return digest_of(self.content())

    def weights_digest(self) -> str:
        """Hash of the weight files that the settings name; part of the build's identity."""
        return ""

    def build_name(self) -> str:
        """Propose a name for the build, such as ``lite0-gem``; "" for the job's own name."""
        return ""

    @property
    def preload(self) -> tuple[str, ...]:
        """Modules that the job's Python workers need and that take seconds to import (`resight.workers`)."""
        return ()

    def check(self) -> None:
        """Look for the local files that the settings name: called before Spark starts and by every job.

        Raises
        ------
        SettingError
            One is missing. What lies on a remote store is found out by the job.
        """
        self.weights_digest()

    def check_spark(self, properties: Mapping[str, str]) -> None:
        """Compare the settings with the properties of the session, once these are known.

        Raises
        ------
        SettingError
            What is asked for needs other ``properties``.
        """

    def differs(self, store: "TableStore") -> bool:
        """Whether the job would now choose otherwise than in its last run, of the same settings and inputs.

        ``store`` is bound to the run; asked only where nothing else has changed.
        """
        return False

    def suited(self, reader: "Reader") -> Self:
        """Give the settings as they suit the collection that ``reader`` sees; most suit any."""
        return self

    @classmethod
    def takes(cls, option: str) -> bool:
        """Whether the first option of a text such as ``--kind codebook`` is one, with this value."""
        words = option.split()[:2]
        if not words:
            return True
        hint = get_type_hints(cls, include_extras=True).get(words[0][2:].replace("-", "_"))
        if hint is None or len(words) == 1:
            return hint is not None
        try:
            msgspec.convert(words[1], hint, strict=False)
        except msgspec.ValidationError:
            return False
        return True

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Self:
        """Check ``values`` against the fields; raise `SettingError` with the key and what is allowed."""
        unknown = sorted(set(values) - set(cls.__struct_fields__))
        if unknown:
            known = ", ".join(cls.__struct_fields__)
            raise SettingError(f"{unknown[0]}: unknown setting; {cls.__name__} knows {known}")
        try:
            return msgspec.convert(dict(values), cls)
        except msgspec.ValidationError as error:
            raise SettingError(explain(str(error), cls)) from None

    def checked(self) -> Self:
        """Check values that nobody checked, those of settings made by hand, and then `check` them."""
        conf = self.from_mapping(msgspec.structs.asdict(self))
        conf.check()
        return conf


def explain(message: str, kind: Any) -> str:
    """Put the key before what msgspec says about it, and after it the words that ``kind`` allows.

    ``kind`` is the type of the setting, or the type of settings that has it.

    >>> explain("Invalid enum value 'c'", Annotated[Literal["a", "b"], Meta(description="")])
    "Invalid enum value 'c'; allowed: a, b"
    """
    text = key_first(message)
    if "Invalid enum value" not in message:
        return text
    if isinstance(kind, type) and issubclass(kind, Config):
        kind = get_type_hints(kind, include_extras=True).get(re.split(r"[:.\[]", text, maxsplit=1)[0])
    words = ", ".join(allowed_words(kind))
    return f"{text}; allowed: {words}" if words else text


def allowed_words(kind: Any) -> list[str]:
    """List the values of every ``Literal`` in a type, and the kinds of numbers beside them."""
    if get_origin(kind) is Literal:
        return [str(value) for value in get_args(kind)]
    numbers = {int: ["an integer"], float: ["a number"]}
    return numbers.get(kind) or [word for part in get_args(kind) for word in allowed_words(part)]


def key_first(message: str) -> str:
    """Put the key before what msgspec says about it.

    >>> key_first("Expected `int` >= 1 - at `$.depth`"), key_first("Expected `str`, got `int` - at `$[2]`")
    ('depth: Expected `int` >= 1', '[2]: Expected `str`, got `int`')
    """
    found = re.fullmatch(r"(.*) - at `\$\.?(.*)`", message, re.DOTALL)
    if found:
        return f"{found[2]}: {found[1]}"
    lacking = re.fullmatch(r"Object missing required field `(\w+)`", message)
    return f"{lacking[1]}: this setting is required" if lacking else message


def check_share(value: float, option: str) -> None:
    """Raise `SettingError` naming ``option`` where ``value`` is no share."""
    if not 0 <= value <= 1:
        raise SettingError(f"{option} {value}: a share from 0 to 1")


def require_local(uri: str, option: str) -> None:
    """Raise `SettingError` naming ``option`` where ``uri`` is a local path and nothing is there."""
    path = files.local_path(files.absolute(uri))
    if path is not None and not path.exists():
        raise SettingError(f"{option}: no such file or folder: {path}")


def digest_of(value: Any) -> str:
    """Short stable hash of anything that JSON can hold."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def is_execution(hint: Any) -> bool:
    """Whether an annotated field is declared with `execution`."""
    meta = setting_meta(hint)
    return bool(meta and meta.extra and meta.extra.get("execution"))


def setting_meta(hint: Any) -> Meta | None:
    """Find the `Meta` of an annotated field."""
    found = [m for m in get_args(hint)[1:] if isinstance(m, Meta)] if is_annotated(hint) else []
    return found[0] if found else None


def is_annotated(hint: Any) -> bool:
    """Whether ``hint`` is ``Annotated[...]``."""
    return type(hint) is type(Annotated[int, 0])


def load_config(cls: type[Config], file: Path | None, options: Mapping[str, Any]) -> Config:
    """Read settings from a TOML ``file``, override them by ``options``; errors name file and key."""
    values = read_toml(file)
    return convert_settings(cls, values | dict(options), file, set(values) - set(options))


def convert_settings(
    cls: type[Config], values: Mapping[str, Any], file: Path | None, keys: Set[str], *, job: str = ""
) -> Config:
    """Check ``values``; errors name ``job`` and key, and ``file`` where that is one of its ``keys``."""
    try:
        return cls.from_mapping(values)
    except SettingError as error:
        message = f"{job}.{error}" if job else str(error)
        key = re.split(r"[:.\[]", str(error), maxsplit=1)[0]
        raise SettingError(f"{file}: {message}" if key in keys else message) from None


def read_toml(file: Path | None) -> dict[str, Any]:
    """Read a TOML file; `SettingError` names the file and the place of the fault."""
    import tomllib

    if file is None:
        return {}
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingError(f"cannot read the settings file {file}: {error}") from None
