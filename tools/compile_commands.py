# SPDX-License-Identifier: Apache-2.0
"""Makes compile_commands.json of what `bazel aquery --output=jsonproto` says.

compile_commands.py ACTIONS_JSON EXECUTION_ROOT > compile_commands.json
"""

import json
import sys

# Bazel passes these to its own compiler wrapper or for its own use.
DROP = {"-MD", "-fcolor-diagnostics"}
DROP_WITH_VALUE = {"-MF", "-o"}


def main():
    with open(sys.argv[1]) as file:
        actions = json.load(file).get("actions", [])
    commands = []
    for action in actions:
        arguments = action["arguments"]
        kept = []
        skip = False
        for argument in arguments:
            if skip:
                skip = False
            elif argument in DROP_WITH_VALUE:
                skip = True
            elif argument not in DROP:
                kept.append(argument)
        source = kept[-1]
        # parse_headers compiles headers too: clang-tidy sees them by include.
        if source.endswith(".cc") and not source.startswith("external/"):
            commands.append(
                {"directory": sys.argv[2], "file": source, "arguments": kept}
            )
    json.dump(commands, sys.stdout)


if __name__ == "__main__":
    main()
