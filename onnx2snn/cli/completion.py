"""The command `completion`: a script for bash or zsh, made of the parsers.

The script stands by itself: completing a word starts no Python.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping

BASH = """\
_onnx2snn() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}} command= line
    local -a options values
    case ${{COMP_WORDS[1]}} in {names}) command=${{COMP_WORDS[1]}};; esac
{tables}
    COMPREPLY=()
    if [[ ${{#values[@]}} -gt 0 ]]; then
        COMPREPLY=($(compgen -W "${{values[*]}}" -- "$word"))
    elif [[ $word == -* ]]; then
        COMPREPLY=($(compgen -W "${{options[*]}}" -- "$word"))
    else
        while IFS= read -r line; do COMPREPLY+=("$line"); done < <(compgen -f -- "$word")
        if [[ $COMP_CWORD -eq 1 ]]; then COMPREPLY+=($(compgen -W "{commands}" -- "$word")); fi
    fi
}}
complete -o filenames -F _onnx2snn onnx2snn
"""

ZSH = """\
_onnx2snn() {{
    local before=${{words[CURRENT-1]}} command=
    local -a options values
    case ${{words[2]}} in {names}) command=${{words[2]}};; esac
{tables}
    if (( $#values )); then
        compadd -- $values
    elif [[ $PREFIX == -* ]]; then
        compadd -- $options
    else
        (( CURRENT == 2 )) && compadd -- {commands}
        _files
    fi
}}
compdef _onnx2snn onnx2snn
"""

SCRIPTS = {"bash": BASH, "zsh": ZSH}
"""The script of each shell, but for the tables of options and values."""


def completion_script(shell: str, parsers: Mapping[str, argparse.ArgumentParser]) -> str:
    """Return the script for a shell; `parsers` are those of the commands by name ("": convert)."""
    commands = [name for name in parsers if name]
    lines = ['    case "$command" in']
    for name, parser in parsers.items():
        flags = [flag for action in parser._actions for flag in action.option_strings]
        lines.append(f'        "{name}") options=({" ".join(flags)});;')
    lines += ["    esac", '    case "$command $before" in']
    for name, parser in parsers.items():
        for action in parser._actions:
            if action.choices is None:
                continue
            # a positional argument stands behind the command's name
            before = action.option_strings or [name]
            patterns = "|".join(f'"{name} {flag}"' for flag in before)
            lines.append(f"        {patterns}) values=({' '.join(action.choices)});;")
    lines.append("    esac")
    return SCRIPTS[shell].format(
        names="|".join(commands), commands=" ".join(commands), tables="\n".join(lines)
    )
