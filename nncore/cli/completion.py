"""The command `nncore completion`: a script that completes the command in a shell."""

import argparse

HELP = """\
Print a script that completes the subcommands, options and file names of nncore.

bash: add to ~/.bashrc    eval "$(nncore completion bash)"
zsh:  add to ~/.zshrc     eval "$(nncore completion zsh)"
"""
# zsh runs the same function through its own adapter. `-o default` completes names of files.
ZSH = """\
autoload -Uz compinit bashcompinit
compinit
bashcompinit
"""
SCRIPT = """\
_nncore() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}
    local command=${COMP_WORDS[1]} words=
    COMPREPLY=()
    if [ "$COMP_CWORD" -eq 1 ]; then
        COMPREPLY=($(compgen -W "@COMMANDS@" -- "$cur"))
        return
    fi
    case "$command $prev" in
@CHOICES@
    esac
    case "$cur" in
    -*)
        case "$command" in
@OPTIONS@
        esac
        COMPREPLY=($(compgen -W "$words" -- "$cur")) ;;
    *)
        case "$command" in
@PLACES@
        esac
        COMPREPLY=($(compgen -W "$words" -- "$cur")) ;;
    esac
}
complete -o default -F _nncore nncore
"""


def add_options(parser, root):
    """Add the arguments of `nncore completion`; root: the parser of all commands."""
    parser.set_defaults(run=lambda options: run(options, root))
    parser.add_argument("shell", metavar="SHELL", choices=("bash", "zsh"), help="bash or zsh")


def run(options, root):
    """Print the script."""
    print((ZSH if options.shell == "zsh" else "") + script(root), end="")


def script(root):
    """Return the function for bash, with the words of the parser."""
    (commands,) = (a for a in root._actions if isinstance(a, argparse._SubParsersAction))
    choices, options, places = [], [], []
    for name, parser in commands.choices.items():
        flags = [flag for action in parser._actions for flag in action.option_strings]
        options.append(f"        {name}) words='{' '.join(flags)}' ;;")
        words = []
        for action in parser._actions:
            if action.choices and action.option_strings:
                cases = "|".join(f'"{name} {flag}"' for flag in action.option_strings)
                values = " ".join(map(str, action.choices))
                choices.append(
                    f"    {cases}) COMPREPLY=($(compgen -W '{values}' -- \"$cur\")); return ;;"
                )
            elif action.choices:
                words += action.choices
            elif action.metavar == "DATA" and not action.option_strings:
                words.append("digits")
        places.append(f"        {name}) words='{' '.join(words)}' ;;")
    found = SCRIPT.replace("@COMMANDS@", " ".join(commands.choices))
    for mark, lines in (("CHOICES", choices), ("OPTIONS", options), ("PLACES", places)):
        found = found.replace(f"@{mark}@", "\n".join(lines))
    return found
