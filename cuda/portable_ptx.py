"""Makes PTX independent of where its source lies: portable_ptx.py FROM TO.

`.file` keeps base names; of the debug sections only .debug_str stays, which `.loc` names; and the hash of the path that NVVM
puts after _INTERNAL_ in it, spelt as .b8 bytes, becomes zeros.
"""

import re
import sys


def portable(text):
    text = re.sub(r'(\.file\s+\d+\s+")[^"]*?([^"/]+")', r"\1\2", text)
    if "\t.loc\t" not in text:  # what nobody reads next to a source may go without comments
        text = re.sub(r"^\s*(//.*)?\n", "", text, flags=re.MULTILINE)

    first = re.search(r"^\t\.section\t\.debug", text, re.MULTILINE)
    if first is None:
        return text
    strings = re.search(r"^\t\.section\t\.debug_str\s*\{.*?\}\s*?\n", text, re.MULTILINE | re.DOTALL)
    head, debug = text[: first.start()], strings.group() if strings else ""
    numbers = re.compile(r"(?<=[ ,])\d+")
    places = []  # of every byte of the section, in order
    for line in re.finditer(r"^\.b8 [^/\n]*", debug, re.MULTILINE):
        places += [(line.start() + m.start(), line.start() + m.end()) for m in numbers.finditer(line.group())]
    data = bytes(int(debug[a:b]) for a, b in places)
    spans = [m.span(1) for m in re.finditer(rb"_INTERNAL_([0-9a-f]{8})_", data)]
    for first, last in reversed(spans):
        for a, b in reversed(places[first:last]):
            debug = debug[:a] + "48" + debug[b:]  # "0"
    return head + debug


if __name__ == "__main__":
    with open(sys.argv[1]) as file:
        made = portable(file.read())
    with open(sys.argv[2], "w") as file:
        file.write(made)
