"""The tables of a result, as a page shows them."""

import glob
import os

import matching
import result
from apps import APPS

BEGIN, END = "<!-- compared by `cargo xtask compare` -->", "<!-- to here -->"
NONE = "—"
WORDS = {"input": "in", "output": "out", "documents": "documents", "model": "model"}


def of(found, reasons, venvs, synonyms):
    """One table for each application: what genspan tells beside what each peer does."""
    notes, parts = Notes(reasons), []
    for app in APPS:
        if app.name in found and found[app.name]["peers"]:
            parts.append(of_app(app, found[app.name], notes, venvs, synonyms))
    return "\n\n".join([*parts, notes.text()]) + "\n"


def of_app(app, found, notes, venvs, synonyms):
    peers = [peer for peer in app.peers if peer.name in found["peers"]]
    heads = ["genspan"]
    for peer in peers:
        heads.append(("%s %s" % (peer.title, version(venvs, peer.environment, peer.package))).strip())
    lines = ["| %s |" % " | ".join(heads), "|" + " --- |" * len(heads)]
    matched = {(p.name, row["ours"]): row for p in peers for row in found["peers"][p.name]}
    for ours in found["genspan"]:
        rows = [matched.get((peer.name, ours["span"])) for peer in peers]
        cells = [cell(row) if row else NONE for row in rows]
        wanting = [(p, row, what) for p, row in zip(peers, rows) if row for what in row["lacks"]]
        mark = notes.mark(app, wanting)
        first = "· " * ours["depth"] + cell(ours) + mark
        lines.append("| %s |" % " | ".join([first, *cells]))
    lines += missing(app, found, peers, notes, synonyms)
    packages = ", ".join("%s %s" % (p, version(venvs, app.environment, p)) for p in app.packages)
    return "**%s** (%s)\n\n%s" % (app.title, packages, "\n".join(lines))


def missing(app, found, peers, notes, synonyms):
    """Rows of what genspan does not tell; what several peers tell by the same name is one."""
    rows = {}
    for peer in peers:
        for row in found["peers"][peer.name]:
            if not row["ours"]:
                word = min(matching.words(row["title"]), key=len)
                word = synonyms.get(word, word)
                rows.setdefault(word, {}).setdefault(peer.name, []).append(row)
    lines = []
    for by_peer in rows.values():
        wanting = [(p, row, "span") for p in peers for row in by_peer.get(p.name, [])]
        cells = [NONE + notes.mark(app, wanting)]
        for peer in peers:
            told = by_peer.get(peer.name, [])
            names = sorted({cell(row) for row in told})
            times = " ×%d" % len(told) if len(told) > len(names) else ""
            cells.append(", ".join(names) + times if told else NONE)
        lines.append("| %s |" % " | ".join(cells))
    return lines


def cell(row):
    """A name with what else is told: `chat gpt-4` model, tokens, in, out."""
    told = row["told"]
    words = [WORDS[name] for name in ("model", "documents", "input", "output") if name in told]
    if any("tokens" in name for name in told):
        words.insert(1 if "model" in told else 0, "tokens")
    # A request alone is below nobody.
    if row["depth"] == 0 and "route" not in told and words:
        words.append("no parent")
    return "`%s` %s" % (row["title"], ", ".join(words)) if words else "`%s`" % row["title"]


def version(venvs, environment, package):
    """What is installed of a package; nothing where that is not known."""
    name = package.replace("-", "_")
    pattern = os.path.join(venvs, environment, "lib/python3*/site-packages", name + "-*.dist-info")
    for found in glob.glob(pattern):
        return os.path.basename(found)[len(name) + 1 : -len(".dist-info")]
    return ""


class Notes:
    """Reasons, numbered as they are first needed."""

    def __init__(self, reasons):
        self.reasons, self.numbers = reasons, {}

    def mark(self, app, wanting):
        """The numbers of the reasons for what these rows are lacking: `[1][2]`."""
        found = []
        for peer, row, what in wanting:
            reason = result.reason_for(self.reasons, app.name, peer.name, row["span"], what)
            number = "?" if reason is None else self.numbers.setdefault(reason, len(self.numbers) + 1)
            if number not in found:
                found.append(number)
        return " " + "".join("[%s]" % number for number in found) if found else ""

    def text(self):
        return "\n".join("%d. %s" % (n, self.reasons[r]["why"]) for r, n in self.numbers.items())


def write(page, found, reasons, venvs, synonyms):
    """Puts the tables into a page, between its markers."""
    with open(page) as file:
        text = file.read()
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise SystemExit("%s has no place for the tables" % page)
    head, rest = text.split(BEGIN)
    tail = rest.split(END)[1]
    with open(page, "w") as file:
        file.write("%s%s\n\n%s\n%s%s" % (head, BEGIN, of(found, reasons, venvs, synonyms), END, tail))
