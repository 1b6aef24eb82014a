# SPDX-License-Identifier: Apache-2.0
"""Makes the comments of a header those of doxygen: its INPUT_FILTER.

doxygen_filter.py HEADER > output

The headers are written for people: `//` comments above what they describe, with
examples and tables set off by indentation. Doxygen reads `///`, and takes what
looks like markup for markup.
"""

import re
import sys

COMMENT = re.compile(r"^(\s*)//( .*|)$")
# A trailing comment describes what it stands behind, if that is a member.
TRAILING = re.compile(r"^(\s*[^\s/].*[;,])  // (?!NOLINT)(.*)$")


def escaped(line):
    """Escapes what doxygen would interpret, but for `code spans`."""
    parts = line.split("`")
    for i in range(0, len(parts), 2):
        parts[i] = re.sub(r"([\\@<>&$%~])", r"\\\1", parts[i])
    return "`".join(parts)


def is_set_off(paragraph):
    """Whether it is code or a table: first line indented, or columns."""
    return paragraph[0].startswith("   ") or any(
        re.search(r"\S {3,}\S", line) for line in paragraph
    )


def documented(lines):
    """Yields the text of a comment, in doxygen's terms."""
    paragraphs = [[]]
    for line in lines:
        if line.strip():
            paragraphs[-1].append(line)
        elif paragraphs[-1]:
            paragraphs.append([])
    for paragraph in filter(None, paragraphs):
        if is_set_off(paragraph):
            yield "```{.unparsed}"
            yield from paragraph
            yield "```"
        else:
            for line in paragraph:
                # One code of absl::Status a line, with what it means.
                item = "- " if re.match(r" k[A-Z]\w+(, .*)?:", line) else ""
                yield item + escaped(line.strip())
        yield ""


def main():
    with open(sys.argv[1]) as file:
        lines = file.read().split("\n")
    at = 0
    while at < len(lines):
        match = COMMENT.match(lines[at])
        if not match or match[2].startswith(" ----"):
            line = TRAILING.match(lines[at])
            print(f"{line[1]}  ///< {escaped(line[2])}" if line else lines[at])
            at += 1
            continue
        indent = match[1]
        begin = at
        while at < len(lines) and (match := COMMENT.match(lines[at])):
            at += 1
        text = [COMMENT.match(line)[2] for line in lines[begin:at]]
        if begin == 0:
            text = list(documented(text))
            print("/// @file")
        elif lines[at].strip() in ("", "}") or lines[at].startswith("#"):
            continue  # Describes no declaration.
        else:
            text = list(documented(text))
        for line in text:
            print(f"{indent}/// {line}".rstrip())
        if begin == 0:
            print()  # Not the description of the include guard.


if __name__ == "__main__":
    main()
