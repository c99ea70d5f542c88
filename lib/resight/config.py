"""Typed, frozen, closed settings of a job: the TOML file, the options and ``--help`` derive from them.

A setting is an annotated field: ``depth: Annotated[int, Meta(ge=1, description="...")] = 100``.
Settings that change how a job runs but not what it computes are declared with `execution` and stay out
of the digest.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self, get_args, get_type_hints

import msgspec
from msgspec import Meta

__all__ = ["Config", "Meta", "SettingError", "execution", "load_config", "setting_meta"]


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

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Self:
        """Check ``values`` against the fields; raise `SettingError` with the key and what is allowed."""
        unknown = sorted(set(values) - set(cls.__struct_fields__))
        if unknown:
            raise SettingError(
                f"unknown setting {unknown[0]!r}; {cls.__name__} knows {', '.join(cls.__struct_fields__)}"
            )
        try:
            return msgspec.convert(dict(values), cls)
        except msgspec.ValidationError as error:
            raise SettingError(str(error)) from None


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
    """Read settings from a TOML ``file``, override them by ``options``."""
    return cls.from_mapping(read_toml(file) | dict(options))


def read_toml(file: Path | None) -> dict[str, Any]:
    """Read a TOML file; `SettingError` names the file and the place of the fault."""
    import tomllib

    if file is None:
        return {}
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingError(f"cannot read the settings file {file}: {error}") from None
