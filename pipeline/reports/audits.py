"""The named queries of sql/audits, and of a folder of one's own.

A file begins with a comment that says in one sentence what it answers. A line `-- $name = value: what it is` behind
that declares a parameter, with its default; the query names it as `$name`. The default is a number or a text. A line
`-- column name: what it is` tells of a column of the answer.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dataset.query import sql
from pipeline.config_errors import ConfigError

FOLDER = sql.FOLDER / "audits"
Value = str | int | float
_COLUMN = re.compile(r"-- column (\w+): (.+)")
_PARAMETER = re.compile(r"-- \$(\w+) = ([^:]*): (.+)")
_USED = re.compile(r"(?<![\w$])\$([a-zA-Z_]\w*)(?![\w$])")
_NO_CODE = re.compile(  # texts, names and comments
    r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|\$(?P<tag>\w*)\$.*?\$(?P=tag)\$|--[^\n]*|/\*.*?\*/", re.DOTALL
)


@dataclass(frozen=True)
class Parameter:
    """What a person may set of an audit."""

    default: Value
    sentence: str


@dataclass(frozen=True)
class Audit:
    """A named query."""

    name: str
    sentence: str
    parameters: Mapping[str, Parameter]
    text: str
    columns: Mapping[str, str]  # of the answer, in their order, as far as the file tells of them

    def values(self, settings: Sequence[str] = ()) -> dict[str, Value]:
        """Return its parameters, with what is set of them.

        Args:
            settings: `name=value` each.

        Raises:
            ConfigError: there is no such parameter, or its value is of another type.
        """
        values = {name: parameter.default for name, parameter in self.parameters.items()}
        for setting in settings:
            name, is_set, text = setting.partition("=")
            if not is_set or name not in values:
                taken = " ".join(f"{known}={parameter.default}" for known, parameter in self.parameters.items())
                raise ConfigError(f"{setting}: the audit {self.name} takes {taken or 'no parameters'}")
            try:
                values[name] = type(values[name])(text)
            except ValueError:
                raise ConfigError(f"{setting}: {name} is a number, such as {values[name]}") from None
        return values


def list_audits(folder: str | None = None) -> dict[str, str]:
    """Return every audit's name and its sentence, by name; one's own folder's after ours, and instead of ours of that
    name.
    """
    return {name: _read(path).sentence for name, path in _files(folder).items()}


def describe_audits(folder: str | None = None, setting: str = "") -> list[str]:
    """Return a line for each audit, and below it one for each of its parameters, as `list_audits` orders them.

    setting: how a parameter is set where the lines are read, as `--set `.
    """
    lines = []
    for audit in map(_read, _files(folder).values()):
        lines.append(f"{audit.name:<22} {audit.sentence}")
        lines += [
            f"{'':<22} {setting}{name}={parameter.default}: {parameter.sentence}"
            for name, parameter in audit.parameters.items()
        ]
    return lines


def own_names(folder: str) -> list[str]:
    """Return the names of the audits of one's own folder. Raises ConfigError: it has none."""
    return [name for name, path in _files(folder).items() if path.parent == Path(folder)]


def load(name: str) -> str:
    """Return the text of one of our audits. Raises ConfigError: there is no audit of that name."""
    return find(name).text


def find(name: str, folder: str | None = None) -> Audit:
    """Return an audit, of one's own folder if it is there.

    Raises:
        ConfigError: there is no audit of that name, or the folder has none.
    """
    known = _files(folder)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
        raise ConfigError(f"there is no audit {name}; {hint}")
    return _read(known[name])


def _files(folder: str | None) -> dict[str, Path]:
    ours = {path.stem: path for path in sorted(FOLDER.glob("*.sql"))}
    if folder is None:
        return ours
    from_folder = {path.stem: path for path in sorted(Path(folder).glob("*.sql")) if path.is_file()}
    if not from_folder:
        raise ConfigError(f"{folder} has no audits: it must be a folder of files NAME.sql")
    return {**ours, **from_folder}


def _read(path: Path) -> Audit:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is no text in UTF-8") from None
    first = text.split("\n", 1)[0]
    sentence = first.removeprefix("--").strip() if first.startswith("--") else ""
    matches = (_PARAMETER.fullmatch(line.strip()) for line in text.splitlines())
    parameters = {match[1]: Parameter(_value(match[2].strip()), match[3]) for match in matches if match}
    undeclared = {name for name in _USED.findall(_NO_CODE.sub(" ", text)) if name not in parameters}
    if undeclared:
        name = min(undeclared)
        raise ConfigError(f"{path} uses ${name} and does not declare it: add a line `-- ${name} = 10: what it is`")
    columns = {match[1]: match[2] for line in text.splitlines() if (match := _COLUMN.fullmatch(line.strip()))}
    return Audit(path.stem, sentence, parameters, text, columns)


def _value(text: str) -> Value:
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        return text
