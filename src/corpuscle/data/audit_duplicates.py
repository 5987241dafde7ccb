"""Pictures that occur twice, overlap, or descend from one photograph, and what that does to splits and labels."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from corpuscle import taxonomy
from corpuscle.data.audit_findings import Finding, Severity, listed
from corpuscle.data.audit_pictures import Scan, Scanned
from corpuscle.data.audit_tree import SOURCE_TABLE, Entry, Tree, read_table
from corpuscle.data.near_duplicates import Components, ScenePair
from corpuscle.errors import UnknownNameError

__all__ = ["duplicate_findings", "group_findings", "source_findings"]

_AUGMENTED = 0.05
"""Share of turned pictures from which a set counts as augmented."""

_SURE_INLIERS = 12
"""Matched points from which a source photograph is believed; fewer occur by chance between similar cells."""


def duplicate_findings(tree: Tree, scan: Scan) -> list[Finding]:
    """List identical pictures, copies, overlaps, families of turned pictures, and labels that contradict each other."""
    findings = [
        _together(tree, "identical", [one.entry for one in group], "byte-identical pictures")
        for group in scan.by_digest
        if len(group) > 1
    ]
    copies = [pair for pair in scan.pairs if pair.is_copy]
    for members, inside in _linked(scan, copies):
        likeness = min(pair.similarity for pair in inside)
        what = f"nearly identical pictures (details correlate by {likeness:.2f})"
        findings.append(_together(tree, "near_duplicate", members, what))
    turned = []
    for members, inside in _linked(scan, scan.pairs):
        if any(pair.turned for pair in inside):
            turned.append(members)
        elif not all(pair.is_copy for pair in inside):
            shares = [pair.overlap for pair in inside if not pair.is_copy]
            pairs = "1 pair" if len(shares) == 1 else f"{len(shares)} pairs"
            what = f"pictures that show one scene, shifted ({pairs}, up to {100 * max(shares):.0f} % in common)"
            findings.append(_together(tree, "overlap", members, what))
    return findings + _turned(tree, turned) + _contradictions(scan)


def _linked(scan: Scan, pairs: Sequence[ScenePair]) -> list[tuple[list[Entry], list[ScenePair]]]:
    """Gather pairs to sets of pictures, with the pairs that hold each set together."""
    sets = Components(len(scan.by_digest))
    for pair in pairs:
        sets.link(pair.first, pair.second)
    inside: dict[int, list[ScenePair]] = defaultdict(list)
    for pair in pairs:
        inside[sets.root(pair.first)].append(pair)
    return [
        ([one.entry for number in group for one in scan.by_digest[number]], inside[sets.root(group[0])])
        for group in sets.groups()
    ]


def _together(tree: Tree, kind: str, entries: Iterable[Entry], what: str) -> Finding:
    """Report pictures that belong together; they leak if they lie in different splits."""
    members = sorted(entries, key=lambda entry: entry.file)
    severity, where, advice = _placed(tree, members)
    names = listed(entry.file for entry in members)
    message = f"{len(members)} {what}{where}: {names}. {advice}"
    return Finding(kind, severity, tuple(entry.file for entry in members), message)


def _placed(tree: Tree, members: Sequence[Entry]) -> tuple[Severity, str, str]:
    """Say in which splits pictures that belong together lie, how bad that is, and what to do."""
    count = Counter(entry.split for entry in members if entry.role)
    if _crosses(members):
        where = ", ".join(f"{number} in {split}" for split, number in sorted(count.items()))
        return "leak", f" cross splits ({where})", "Keep them in one split, or leave some out."
    if tree.has_splits:
        return "note", " in one split", "Keep them in one split."
    return "fault", "", "Keep them together when you split the set."


def _crosses(entries: Iterable[Entry]) -> bool:
    return len({entry.role for entry in entries if entry.role}) > 1


def _turned(tree: Tree, families: Sequence[list[Entry]]) -> list[Finding]:
    """Report sets of turned or mirrored pictures; where they make up the set, sum up those inside one split."""
    number = sum(map(len, families))
    crossing = [members for members in families if _crosses(members)]
    what = "pictures that show one scene, turned or mirrored,"
    if number < _AUGMENTED * len(tree.entries):
        return [_together(tree, "turned", members, what) for members in families]
    message = (
        f"{number} of {len(tree.entries)} pictures ({100 * number / len(tree.entries):.1f} %) were found to be turned, "
        f"mirrored or shifted versions of each other: {len(families)} families, the largest of "
        f"{max(map(len, families))}, {len(crossing)} in more than one split. Such families count as one picture each, "
        "and a split drawn at random puts relatives on both sides: split by family."
    )
    summary = Finding("augmented", "leak" if crossing else "fault", (), message)
    return [summary, *(_together(tree, "turned", members, what) for members in crossing)]


def _contradictions(scan: Scan) -> list[Finding]:
    """List pictures that occur, alike or turned, under labels that exclude each other."""
    sets = Components(len(scan.by_digest))
    for pair in scan.pairs:
        if pair.is_copy or (pair.turned and pair.overlap >= 0.7):
            sets.link(pair.first, pair.second)
    members: dict[int, list[Scanned]] = defaultdict(list)
    for number, group in enumerate(scan.by_digest):
        members[sets.root(number)] += group
    findings = []
    for alike in members.values():
        entries = sorted((one.entry for one in alike), key=lambda entry: entry.file)
        against = _first_contradiction(entries)
        if against:
            message = (
                f"One picture under two labels: {against[0].file} is {_label(against[0])}, {against[1].file} is "
                f"{_label(against[1])}. Ask who knows, or leave all of it out."
            )
            files = tuple(entry.file for entry in entries)
            findings.append(Finding("contradictory_label", "fault", files, message))
    return findings


def _first_contradiction(entries: Sequence[Entry]) -> tuple[Entry, Entry] | None:
    """Return two entries whose classes or subtypes exclude each other."""
    distinct = list({(entry.label, entry.subtype): entry for entry in entries}.values())
    for place, first in enumerate(distinct):
        for second in distinct[:place]:
            if _exclude(first.label, second.label) or _exclude(first.subtype, second.subtype):
                return second, first
    return None


def _exclude(first: str, second: str) -> bool:
    """Say whether two labels cannot both be right: neither is the same as, or a part of, the other."""
    if not first or not second or first.casefold() == second.casefold():
        return False
    try:
        one, other = taxonomy.resolve(first), taxonomy.resolve(second)
    except UnknownNameError:
        return True
    return not (taxonomy.ancestor_in(one, [other]) or taxonomy.ancestor_in(other, [one]))


def _label(entry: Entry) -> str:
    return f"{entry.label} ({entry.subtype})" if entry.subtype else entry.label


def group_findings(tree: Tree) -> list[Finding]:
    """List groups named by a table whose pictures lie in different splits."""
    members: dict[tuple[str, str], list[Entry]] = defaultdict(list)
    for entry in tree.entries:
        for group in entry.groups:
            members[group].append(entry)
    return [
        _together(tree, "group_crosses_splits", entries, f"pictures of the {kind.replace('_', ' ')} {name}")
        for (kind, name), entries in sorted(members.items())
        if _crosses(entries)
    ]


def source_findings(tree: Tree) -> list[Finding]:
    """Report what a table of source photographs says: how few there are, and which of them cross splits."""
    path = tree.folder / SOURCE_TABLE
    if not path.is_file():
        return []
    try:
        rows = read_table(path)
    except ValueError:
        return []  # reported when the tree was read
    entry_of = {entry.file: entry for entry in tree.entries}
    sources: dict[str, list[Entry]] = defaultdict(list)
    shared: dict[tuple[str, str], int] = Counter()
    for row in rows:
        entry, best, second = entry_of.get(row["file"]), row.get("best_original", ""), row.get("second_original", "")
        if entry is None or not best or not _sure(row.get("inliers", "")):
            continue
        sources[best].append(entry)
        if second and _sure(row.get("second_inliers", "0")):
            shared[min(best, second), max(best, second)] += 1
    if not sources:
        return []
    number, most = sum(map(len, sources.values())), max(map(len, sources.values()))
    message = (
        f"By {SOURCE_TABLE}, {number} pictures were made from {len(sources)} photographs (up to {most} from one). A "
        "split drawn at random would put relatives on both sides: split by photograph, and count photographs."
    )
    findings = [Finding("few_sources", "fault", (SOURCE_TABLE,), message)]
    return findings + _crossing_sources(tree, sources, shared)


def _crossing_sources(tree: Tree, sources: dict[str, list[Entry]], shared: dict[tuple[str, str], int]) -> list[Finding]:
    """List photographs, and pairs of overlapping ones, whose pictures lie in different splits."""
    findings = [
        _together(tree, "source_crosses_splits", entries, f"pictures of the photograph {name}")
        for name, entries in sorted(sources.items())
        if _crosses(entries)
    ]
    for (first, second), number in sorted(shared.items()):
        both = sources.get(first, []) + sources.get(second, [])
        alone = _crosses(sources.get(first, [])) or _crosses(sources.get(second, []))
        if _crosses(both) and not alone:
            what = f"pictures of the overlapping photographs {first} and {second} ({number} match both)"
            findings.append(_together(tree, "source_crosses_splits", both, what))
    return findings


def _sure(inliers: str) -> bool:
    """Say whether a number of matched points is believed; a table without numbers is believed."""
    try:
        return not inliers or float(inliers) >= _SURE_INLIERS
    except ValueError:
        return False
