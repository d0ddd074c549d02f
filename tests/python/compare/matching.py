"""Which of genspan's steps is which of a peer's, in the trees of one request."""

from dataclasses import dataclass

# Families in which steps are told apart by their names alone.
NAMED = ("chain", "other", "tool")
# Words around a name that say only who tells it.
AROUND = ("workflow", "task", "completion", "chat", "chain", "invoke_workflow", "invoke_agent")


@dataclass
class Pair:
    """A step of a peer and genspan's, or none, each with its key; with what the peer tells that genspan
    does not, and the other way round."""

    key: str
    step: object
    depth: int
    ours: str = None
    lacks: tuple = ()
    more: tuple = ()


def words(name):
    """What names of the same thing have in common: the whole, and what it is of a class."""
    parts = [part for part in name.replace(" ", ".").split(".") if part]
    core = [part for part in parts if part.lower() not in AROUND] or parts
    return {"".join(core).lower(), core[-1].lower()} if core else set()


def same_name(step, ours, synonyms):
    mine = {synonyms.get(word, word) for word in words(step.name)}
    return bool(mine & {synonyms.get(word, word) for word in words(ours.name)})


def keyed(root):
    """The steps of a tree with those above each, by a key that is the same in the next request."""
    found, seen = {}, {}
    for step, above in root.preorder():
        path = " > ".join([a.title for a in above] + [step.title])
        seen[path] = seen.get(path, 0) + 1
        key = path if seen[path] == 1 else "%s #%d" % (path, seen[path])
        found[key] = (step, above)
    return found


def match(peer_root, our_root, synonyms):
    """All steps of the peer's tree, each with its counterpart."""
    ours = keyed(our_root)
    above_of = {step.id: above for step, above in ours.values()}
    key_of = {step.id: key for key, (step, _) in ours.items()}
    free = [step for step, _ in ours.values()]
    matched, pairs = {}, []
    for key, (step, above) in keyed(peer_root).items():
        around = next((matched[a.id] for a in reversed(above) if a.id in matched), None)
        found = choose(step, around, free, above_of, synonyms)
        pair = Pair(key, step, len(above))
        if found:
            free.remove(found)
            matched[step.id] = found
            pair.ours = key_of[found.id]
            pair.lacks = lacks(step, found, around, above_of)
            pair.more = tuple(sorted(set(found.told) - set(step.told)))
        pairs.append(pair)
    return pairs


def choose(step, around, candidates, above_of, synonyms):
    """The counterpart of a step: of its family, with its name, below its parent's counterpart; the
    earliest of those that fit best. A name is asked for where it is all that tells steps apart."""
    best, best_score = None, None
    for place, ours in enumerate(candidates):
        if ours.family != step.family:
            continue
        is_named = same_name(step, ours, synonyms)
        if step.family in NAMED and not is_named:
            continue
        is_below = around is None or around in above_of[ours.id]
        score = (is_below, is_named, -place)
        if best_score is None or score > best_score:
            best, best_score = ours, score
    return best


def lacks(step, ours, around, above_of):
    missing = []
    for name, value in step.told.items():
        mine = ours.told.get(name)
        if mine is None:
            missing.append(name)
        elif differs(name, mine, value):
            missing.append(name + " differs")
    if around is not None and around not in above_of[ours.id]:
        missing.append("parent")
    return tuple(missing)


def differs(name, mine, value):
    if name == "model":
        # One tells which was asked for, the other which answered, of a version.
        return not (mine.startswith(value) or value.startswith(mine))
    return name not in ("input", "output") and mine != value
