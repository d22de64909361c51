"""YAML as configs are written in it: keys are distinct, and what cannot be read is one sentence."""

from __future__ import annotations

from typing import Any

import yaml

MAX_CHARS = 2**22
"""The longest config that is read, in characters; the longest that openwit carries has 10,000."""


class YamlError(ValueError):
    """A text is no YAML, or not such as a config may be; `line` is where, from 1 on, as far as that is known."""

    def __init__(self, problem: str, line: int | None = None):
        super().__init__(problem)
        self.line = line


class _Loader(yaml.SafeLoader):
    """YAML whose keys are distinct: of two equal ones, PyYAML takes the last and says nothing."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """See PyYAML. Raises MarkedYAMLError for a key that stands twice."""
        seen: set[str] = set()
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge" or not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value} stands here for the second time", key.start_mark
                )
            seen.add(key.value)
        return dict(super().construct_mapping(node, deep))


class _WrittenLoader(_Loader):
    """YAML as a run writes it. Aliases, of which it writes none, make a value of any size from a few lines."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        """See PyYAML. Raises MarkedYAMLError for an alias."""
        if self.check_event(yaml.AliasEvent):
            raise yaml.composer.ComposerError(None, None, "an alias stands here", self.peek_event().start_mark)
        return super().compose_node(parent, index)


def parse(text: str | bytes, *, is_written: bool = False) -> Any:
    """Return what a text says.

    Args:
        is_written: by a run, so that it is simple; it may be somebody else's.
    Raises:
        YamlError: it cannot be read.
    """
    if len(text) > MAX_CHARS:
        raise YamlError(f"it has more than {MAX_CHARS:,} characters")
    try:
        words = text.decode() if isinstance(text, bytes) else text
        return yaml.load(words, _WrittenLoader if is_written else _Loader)  # noqa: S506 (both are SafeLoaders)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or " ".join(str(error).split())
        raise YamlError(problem, mark.line + 1 if mark else None) from None
    except UnicodeDecodeError:
        raise YamlError("it is not UTF-8") from None
    except RecursionError:
        raise YamlError("it is nested too deep") from None
    except (ValueError, OverflowError) as error:  # a date or a number that is none
        raise YamlError(" ".join(str(error).split())) from None


def override(text: str) -> Any:
    """Return the value of a `key=value` on the command line: YAML, but a path is taken as it stands. Raises
    YamlError.
    """
    is_path = "/" in text and not text.startswith(("[", "{", '"', "'"))
    return text if is_path else parse(text)
