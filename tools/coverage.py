# SPDX-License-Identifier: Apache-2.0
"""Figures and lines not reached, from `llvm-cov export`: see tools/coverage."""

import json
import os
import sys

DOC = "docs/coverage.md"
REASONS = "tools/coverage_reasons.txt"
BEGIN = "<!-- made by tools/coverage: begin -->"
END = "<!-- made by tools/coverage: end -->"


def source_path(name):
    """share/share.h, also where Bazel compiled a copy of it."""
    for package in ("share/", "easy/"):
        for start in (package, "_virtual_includes/"):
            at = name.find(start)
            if at < 0:
                continue
            if start == package:
                path = name[at:]
                if os.path.exists(path):
                    return path
            elif "/curlshare/" in name:
                path = name.split("/curlshare/", 1)[1]
                if os.path.exists(path):
                    return path
    return None


def unreached_lines(entry):
    """The numbers of lines that were never executed, from the segments."""
    # A segment: line, column, count, has_count, is_region_entry, is_gap.
    best = {}  # line -> highest count of any region on it
    segments = entry["segments"]
    for i, (line, _, count, has_count, entry_, gap) in enumerate(segments):
        if not has_count:
            continue
        if entry_ and not gap:
            best[line] = max(best.get(line, 0), count)
        last = segments[i + 1][0] if i + 1 < len(segments) else line
        # Lines wholly inside the segment.
        for inside in range(line + 1, last + (0 if gap else 1)):
            wrapped = inside < last
            if wrapped:
                best[inside] = max(best.get(inside, 0), count)
    return {line for line, count in best.items() if count == 0}


def percent(covered, total):
    return "–" if total == 0 else "%.1f %%" % (100.0 * covered / total)


def read_reasons():
    """Lines of `path | text of the first line | reason`."""
    reasons = {}
    with open(REASONS) as file:
        for line in file:
            line = line.strip()
            if not line or line.startswith("#"):
                continue
            path, text, reason = [part.strip() for part in line.split(" | ")]
            reasons[path, text] = reason
    return reasons


def main():
    files = {}
    for entry in json.load(open(sys.argv[1]))["data"][0]["files"]:
        path = source_path(entry["filename"])
        if path is None:
            continue
        # The same header may be seen under several names: the best counts.
        summary = entry["summary"]
        new = {
            "lines": (summary["lines"]["covered"], summary["lines"]["count"]),
            "branches": (
                summary["branches"]["covered"],
                summary["branches"]["count"],
            ),
            "unreached": unreached_lines(entry),
        }
        if path not in files or new["lines"][0] > files[path]["lines"][0]:
            files[path] = new

    out = ["| File | Lines | | Branches | |", "|---|---|---|---|---|"]
    sums = [0, 0, 0, 0]
    for path in sorted(files):
        one = files[path]["lines"] + files[path]["branches"]
        sums = [a + b for a, b in zip(sums, one)]
        out.append(
            "| `%s` | %d of %d | %s | %d of %d | %s |"
            % ((path,) + one[:2] + (percent(*one[:2]),) + one[2:] + (percent(*one[2:]),))
        )
    out.append(
        "| **all** | %d of %d | **%s** | %d of %d | **%s** |"
        % (sums[0], sums[1], percent(*sums[:2]), sums[2], sums[3], percent(*sums[2:]))
    )
    print("\n".join(out))

    reasons = read_reasons()
    unused = set(reasons)
    missing = 0
    out += ["", "| Lines not reached | | Why |", "|---|---|---|"]
    for path in sorted(files):
        text = open(path).read().splitlines()
        numbers = sorted(files[path]["unreached"])
        while numbers:
            first = last = numbers.pop(0)
            while numbers and numbers[0] == last + 1:
                last = numbers.pop(0)
            key = (path, text[first - 1].strip())
            reason = reasons.get(key)
            unused.discard(key)
            if reason is None:
                missing += 1
                reason = "**no reason given**"
                print("%s:%d-%d: no reason: %s" % (path, first, last, key[1]))
            where = str(first) if first == last else "%d-%d" % (first, last)
            code = key[1].replace("|", "\\|")
            out.append("| `%s`:%s | `%s` | %s |" % (path, where, code, reason))
    for path, text in sorted(unused):
        print("reached, or gone: %s | %s" % (path, text))

    doc = open(DOC).read()
    before, rest = doc.split(BEGIN)
    after = rest.split(END)[1]
    with open(DOC, "w") as file:
        file.write(before + BEGIN + "\n" + "\n".join(out) + "\n" + END + after)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
