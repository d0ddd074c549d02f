"""The result of a comparison, as data; what is wrong with it, and whether it is worse than the last."""

import collections
import fnmatch
import json
import os

import matching

HERE = os.path.dirname(os.path.abspath(__file__))
SEEN = os.path.join(HERE, "seen.json")
REASONS = os.path.join(HERE, "reasons.json")


def load(path):
    with open(path) as file:
        return json.load(file)


def save(result):
    with open(SEEN, "w") as file:
        json.dump(result, file, indent=1, ensure_ascii=False)
        file.write("\n")


def of_ours(roots):
    """What genspan tells of each of the same requests."""
    trees = [matching.keyed(root) for root in roots]
    common = [key for key in trees[0] if all(key in tree for tree in trees)]
    return [
        {
            "span": key,
            "depth": len(trees[0][key][1]),
            "title": trees[0][key][0].title,
            "told": sorted(set.intersection(*(set(tree[key][0].told) for tree in trees))),
        }
        for key in common
    ]


def of_peer(compared):
    """What a peer tells of the same request made several times, with genspan's counterparts: a
    counterpart is one only if it is there each time."""
    rows = {}
    for pairs in compared:
        for pair in pairs:
            now = {
                "title": pair.step.title,
                "depth": pair.depth,
                "told": sorted(pair.step.told),
                "ours": pair.ours,
                "lacks": sorted(pair.lacks),
                "more": sorted(pair.more),
            }
            before = rows.setdefault(pair.key, now)
            if now["ours"] == before["ours"]:
                before["lacks"] = sorted({*before["lacks"], *now["lacks"]})
                before["more"] = [m for m in before["more"] if m in now["more"]]
            else:
                before["ours"], before["lacks"], before["more"] = None, [], []
    return [{"span": key, **row} for key, row in rows.items()]


def merged(before, found, peers):
    """A result with what was seen before of the applications and peers that did not run this time; `peers`
    are the names of those that there are, by application."""
    whole = {}
    for app, names in peers.items():
        then, now = before.get(app), found.get(app)
        if not (then or now):
            continue
        rows = {**(then or now)["peers"], **(now or then)["peers"]}
        rows = {name: rows[name] for name in names if name in rows}
        whole[app] = {"genspan": (now or then)["genspan"], "peers": rows}
    return whole


def unexplained(result, reasons):
    """What a peer tells and genspan does not, for which no reason is written; and of the reasons what they
    give one for though nothing is lacking."""
    problems, used = [], set()
    for app, peer, row in rows_of(result):
        wanting = row["lacks"] if row["ours"] else ["span"]
        for what in wanting:
            number = reason_for(reasons, app, peer, row["span"], what)
            if number is None:
                problems.append("%s, %s: %s: %s, and no reason is written" % (app, peer, row["span"], what))
            else:
                used.add((number, what))
    unused = []
    for number, reason in enumerate(reasons):
        lacks = [what for what in reason["lacks"] if (number, what) not in used]
        if lacks:
            unused.append({**reason, "lacks": lacks})
    return problems, unused


def reason_for(reasons, app, peer, span, what):
    """The number of the first reason that fits."""
    for number, reason in enumerate(reasons):
        last = span.split(" > ")[-1].split(" #")[0]
        fits = (
            fnmatch.fnmatchcase(app, reason.get("app", "*"))
            and fnmatch.fnmatchcase(peer, reason.get("peer", "*"))
            and fnmatch.fnmatchcase(last, reason.get("span", "*"))
            and what in reason["lacks"]
        )
        if fits:
            return number
    return None


def rows_of(result):
    for app, found in result.items():
        for peer, rows in found["peers"].items():
            for row in rows:
                yield app, peer, row


def worse(before, result):
    """What the last result had and this one has not, of the applications and peers that are in both."""
    problems = []
    for app, peer, row in rows_of(before):
        rows = result.get(app, {"peers": {}})["peers"].get(peer)
        if rows is None:
            continue
        now = {r["span"]: r for r in rows}.get(row["span"])
        where = "%s, %s: %s" % (app, peer, row["span"])
        if now is None:
            problems.append(where + ": the peer does not tell it any more")
        elif row["ours"] and not now["ours"]:
            problems.append(where + ": was told as `%s` and is missing" % row["ours"])
        elif row["ours"]:
            lost = sorted(set(now["lacks"]) - set(row["lacks"]))
            if lost:
                problems.append(where + ": now lacks %s" % ", ".join(lost))
            # What the peer tells by now too is no more than it tells.
            lost = sorted(set(row["more"]) - set(now["more"]) - set(now["told"]))
            if lost:
                problems.append(where + ": of what only genspan told is missing %s" % ", ".join(lost))
    for app in before.keys() & result.keys():
        # Where it is told may have become better.
        titles = [collections.Counter(r["title"] for r in t[app]["genspan"]) for t in (before, result)]
        gone = titles[0] - titles[1]
        for title, count in gone.items():
            problems.append("%s: %d spans `%s` of before are not told" % (app, count, title))
        told = [
            collections.Counter((r["title"], what) for r in t[app]["genspan"] for what in r["told"])
            for t in (before, result)
        ]
        for (title, what), count in (told[0] - told[1]).items():
            # A span that is gone is told of once.
            count -= gone[title]
            if count > 0:
                problems.append("%s: %d spans `%s` no longer tell %s" % (app, count, title, what))
    return problems
