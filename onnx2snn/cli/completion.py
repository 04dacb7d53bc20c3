"""The command `completion`: a script for bash or zsh, made of the parsers.

The script stands by itself: completing a word starts no Python.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping

SHELLS = ("bash", "zsh")

ZSH = "autoload -U +X bashcompinit && bashcompinit\n"
"""zsh reads completions of bash through a module of its own."""

SCRIPT = """\
_onnx2snn() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}} command= options= values= line
    case ${{COMP_WORDS[1]}} in {names}) command=${{COMP_WORDS[1]}};; esac
    case "$command $before" in
{values}
    esac
    case "$command" in
{options}
    esac
    COMPREPLY=()
    if [[ -n $values ]]; then
        COMPREPLY=($(compgen -W "$values" -- "$word"))
    elif [[ $word == -* ]]; then
        COMPREPLY=($(compgen -W "$options" -- "$word"))
    else
        while IFS= read -r line; do COMPREPLY+=("$line"); done < <(compgen -f -- "$word")
        if [[ $COMP_CWORD -eq 1 ]]; then COMPREPLY+=($(compgen -W "{commands}" -- "$word")); fi
    fi
}}
complete -o filenames -F _onnx2snn onnx2snn
"""  # noqa: E501 - lines of bash


def completion_script(shell: str, parsers: Mapping[str, argparse.ArgumentParser]) -> str:
    """Return the script for a shell; `parsers` are those of the commands by name ("": convert)."""
    commands = [name for name in parsers if name]
    options = []
    values = []
    for name, parser in parsers.items():
        flags = [flag for action in parser._actions for flag in action.option_strings]
        options.append(f'        "{name}") options="{" ".join(flags)}";;')
        for action in parser._actions:
            if action.choices is None:
                continue
            # a positional argument stands behind the command's name
            before = action.option_strings or [name]
            patterns = "|".join(f'"{name} {flag}"' for flag in before)
            values.append(f'        {patterns}) values="{" ".join(action.choices)}";;')
    script = SCRIPT.format(
        names="|".join(commands),
        commands=" ".join(commands),
        options="\n".join(options),
        values="\n".join(values),
    )
    return (ZSH if shell == "zsh" else "") + script
