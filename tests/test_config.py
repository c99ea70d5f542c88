from typing import Annotated, Literal

import pytest

from resight.config import Config, Meta, SettingError, execution, load_config


class Settings(Config):
    depth: Annotated[int, Meta(ge=1, description="results per query")] = 10
    chunk: Annotated[int, execution("rows per chunk", ge=1)] = 5
    sizes: Annotated[tuple[int, ...], Meta(description="several numbers")] = ()
    way: Annotated[Literal["up", "down"], Meta(description="direction")] = "up"
    stages: Annotated[tuple[Literal["a", "b"], ...], Meta(description="several words")] = ()


def test_options_override_the_file_and_defaults_fill_the_rest(tmp_path):
    file = tmp_path / "settings.toml"
    file.write_text("depth = 3\nchunk = 2")
    assert load_config(Settings, file, {"chunk": 9}) == Settings(depth=3, chunk=9)
    assert load_config(Settings, None, {}) == Settings()


def test_settings_of_execution_do_not_change_the_digest():
    assert Settings(chunk=1).digest == Settings(chunk=2).digest
    assert Settings(depth=1).digest != Settings(depth=2).digest


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"deep": 3}, "deep: unknown setting; Settings knows depth, chunk, sizes, way, stages"),
        ({"depth": 0}, "depth: Expected `int` >= 1"),
        ({"depth": "3"}, "depth: Expected `int`, got `str`"),
        ({"chunk": 0}, "chunk: Expected `int` >= 1"),
        ({"way": "left"}, "way: Invalid enum value 'left'; allowed: up, down"),
        ({"stages": ["a", "c"]}, "stages[1]: Invalid enum value 'c'; allowed: a, b"),
        ({"sizes": [1, "x"]}, "sizes[1]: Expected `int`, got `str`"),
    ],
)
def test_wrong_values_name_the_key_and_what_is_allowed(values, message):
    with pytest.raises(SettingError) as caught:
        Settings.from_mapping(values)
    assert str(caught.value) == message


def test_an_error_names_the_file_only_where_the_key_stands_in_it(tmp_path):
    file = tmp_path / "settings.toml"
    file.write_text("depth = 0")
    with pytest.raises(SettingError) as caught:
        load_config(Settings, file, {})
    assert str(caught.value) == f"{file}: depth: Expected `int` >= 1"
    file.write_text("chunk = 3\nsizes = ['x']")
    with pytest.raises(SettingError) as caught:
        load_config(Settings, file, {"sizes": (1,), "depth": 0})
    assert str(caught.value) == "depth: Expected `int` >= 1"


def test_a_required_setting_that_is_missing_is_named():
    class Needy(Config):
        source: Annotated[str, Meta(description="what is read")]

    with pytest.raises(SettingError, match=r"^source: this setting is required$"):
        Needy.from_mapping({})


def test_a_broken_file_is_named_with_the_place(tmp_path):
    file = tmp_path / "settings.toml"
    file.write_text("depth = \nchunk = 3")
    with pytest.raises(SettingError, match=r"settings\.toml.*line 1"):
        load_config(Settings, file, {})


@pytest.mark.parametrize(
    ("option", "taken"),
    [
        ("", True),
        ("--way up", True),
        ("--way left", False),
        ("--ways up", False),
        ("--chunk 3 --way left", True),
        ("--stages", True),
    ],
)
def test_a_type_of_settings_knows_what_it_takes(option, taken):
    assert Settings.takes(option) == taken
