"""A model of who may write what when: every interleaving of small programs, each step atomic.

The model is the protocol of `tracking`: two processes that start a run (one of them perhaps with
``--restart``), a look by ``runs mark-killed``, kills, losses of power and a copied folder. Each
mend is a flag; without it the search must find the fault that the mend was made for, so the search
can.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

ROUNDS = 2


@dataclass(frozen=True)
class Mends:
    """What was mended; all of them hold in the product."""

    lock_lies_at_path: bool = True  # B4
    reap_reads_again_under_lock: bool = True  # B3
    checkpoint_knows_journal: bool = True  # B1
    checkpoint_knows_run: bool = True  # B2
    journal_synced_first: bool = True


@dataclass(frozen=True)
class Folder:
    """One run folder: ``lock`` is its owner; counts of rounds stand for contents.

    Attributes:
        ident: which run it is; 0 before there is one.
        journal, durable: rounds written, and rounds that a loss of power leaves.
        writer: the run whose records the journal holds.
        checkpoint, of: its round and its run; -1 without one.
        previous: the round of the checkpoint before.
        status: as the journal says it.
        begun: the round from which the last owner went on.
    """

    ident: int = 0
    lock: int = 0
    journal: int = 0
    durable: int = 0
    checkpoint: int = -1
    of: int = 0
    previous: int = -1
    status: str = "NEW"
    gap: bool = False
    mixed: bool = False


@dataclass(frozen=True)
class Process:
    """A program counter with what it remembers."""

    kind: str
    at: str = "open"
    folder: int = 0  # index of the folder that it holds open
    memory: Any = None


@dataclass(frozen=True)
class World:
    """Folders by index, which of them lies at the path (None: no folder), and the processes."""

    folders: tuple[Folder, ...]
    path: int | None
    processes: tuple[Process, ...]
    faults: int = 0  # kills, losses of power and copies so far
    next_ident: int = 1


class Found(AssertionError):  # noqa: N818 - what a search does
    """A fault of the protocol."""


def steps(world: World, mends: Mends, most_faults: int) -> Iterator[tuple[str, World]]:
    """Every world that one atomic step leads to."""
    for index, process in enumerate(world.processes):
        if process.at == "done":
            continue
        for name, after in PROGRAMS[process.kind](world, index, process, mends):
            yield f"{index}:{name}", after
        if world.faults < most_faults and process.at != "open":
            yield f"{index}:kill", replace(killed(world, index), faults=world.faults + 1)
    if world.faults < most_faults:
        yield "power", power_cut(world)
        for name, after in copies(world):
            yield name, after


def put(world: World, index: int, process: Process, folder: Folder | None = None) -> World:
    """The world with the process moved on, and its folder changed."""
    if process.at == "done":  # what it remembers no longer matters: fewer worlds
        process = Process("", "done")
    processes = list(world.processes)
    processes[index] = process
    folders = list(world.folders)
    if folder is not None:
        folders[process.folder] = folder
    return replace(world, folders=tuple(folders), processes=tuple(processes))


def killed(world: World, index: int) -> World:
    """Without the process: the kernel gives its locks back."""
    folders = tuple(
        replace(folder, lock=0) if folder.lock == index + 1 else folder for folder in world.folders
    )
    processes = list(world.processes)
    processes[index] = Process("", "done")
    return replace(world, folders=folders, processes=tuple(processes))


def power_cut(world: World) -> World:
    """All processes end, and each journal is as short as its last sync left it."""
    for index in range(len(world.processes)):
        world = killed(world, index)
    folders = tuple(
        replace(folder, journal=min(folder.journal, folder.durable)) for folder in world.folders
    )
    # what a user does next: the same command again
    processes = (*world.processes, Process("plain"))
    return replace(world, folders=folders, processes=processes, faults=world.faults + 1)


def copies(world: World) -> Iterator[tuple[str, World]]:
    """A checkpoint of another run, or an older journal, put into a folder that nobody holds."""
    if world.path is None or world.folders[world.path].lock:
        return
    here = world.folders[world.path]
    if here.ident and here.status != "FINISHED":
        shorter = max(here.journal - 1, 0)
        changed = [
            ("copy checkpoint", replace(here, checkpoint=here.journal, of=here.ident + 100)),
            ("copy journal", replace(here, journal=shorter, durable=shorter)),
        ]
        for name, folder in changed:
            folders = list(world.folders)
            folders[world.path] = folder
            again = (*world.processes, Process("plain"))
            yield (
                name,
                replace(world, folders=tuple(folders), processes=again, faults=world.faults + 1),
            )


def start(world: World, index: int, process: Process, mends: Mends) -> Iterator[tuple[str, World]]:
    """``fl-platform run``: make and open the folder, lock it, (put it aside,) train, finish."""
    me = index + 1
    if process.at == "open":
        if world.path is None:
            world = replace(world, folders=(*world.folders, Folder()), path=len(world.folders))
        assert world.path is not None
        yield "open", put(world, index, replace(process, at="lock", folder=world.path))
        return
    folder = world.folders[process.folder]
    at_path = world.path == process.folder
    if process.at == "lock":
        if folder.lock and folder.lock != me:
            yield "refused", put(world, index, replace(process, at="done"))
        elif not at_path and mends.lock_lies_at_path:
            yield "again", put(world, index, replace(process, at="open"))
        else:
            at = "aside" if process.kind == "fresh" and folder.ident else "begin"
            yield "locked", put(world, index, replace(process, at=at), replace(folder, lock=me))
    elif process.at == "aside":
        moved = replace(world, path=None if at_path else world.path)
        yield "aside", put(moved, index, replace(process, at="relock", memory=process.folder))
    elif process.at == "relock":
        yield from relock(world, index, process, me)
    elif process.at == "begin":
        yield from begin(world, index, process, mends)
    elif process.at == "round":
        yield from train_round(world, index, process, mends)
    elif process.at == "finish":
        check_result(folder)
        done = replace(folder, status="FINISHED", lock=0)
        yield "finished", put(world, index, replace(process, at="done"), done)


def relock(world: World, index: int, process: Process, me: int) -> Iterator[tuple[str, World]]:
    """After ``--restart`` put the old folder aside: take the new one while the old is held."""
    if world.path is None:
        world = replace(world, folders=(*world.folders, Folder()), path=len(world.folders))
    assert world.path is not None
    new = world.folders[world.path]
    folders = list(world.folders)
    folders[process.memory] = replace(folders[process.memory], lock=0)
    if new.lock:
        world = replace(world, folders=tuple(folders))
        yield "refused", put(world, index, replace(process, at="done"))
    else:
        folders[world.path] = replace(new, lock=me)
        world = replace(world, folders=tuple(folders))
        yield "relocked", put(world, index, replace(process, at="begin", folder=world.path))


def begin(world: World, index: int, process: Process, mends: Mends) -> Iterator[tuple[str, World]]:
    """Introduce the run, or choose where to go on."""
    folder = world.folders[process.folder]
    if not folder.ident:
        fresh = replace(folder, ident=world.next_ident, status="RUNNING")
        after = replace(world, next_ident=world.next_ident + 1)
        yield "new", put(after, index, replace(process, at="round", memory=0), fresh)
        return
    if folder.status == "FINISHED":
        yield "stored", put(world, index, replace(process, at="done"), replace(folder, lock=0))
        return
    candidates = [(folder.checkpoint, folder.of), (folder.previous, folder.ident)]
    present = [(at, of) for at, of in candidates if at >= 0]
    for at, of in present:
        if mends.checkpoint_knows_run and of != folder.ident:
            continue
        if mends.checkpoint_knows_journal and at > folder.journal:
            continue
        resumed = replace(
            folder,
            status="RUNNING",
            gap=folder.gap or at > folder.journal,
            mixed=folder.mixed or of != folder.ident,
        )
        yield "resume", put(world, index, replace(process, at="round", memory=at), resumed)
        return
    if present:
        yield "unfit", put(world, index, replace(process, at="done"), replace(folder, lock=0))
        return
    again = replace(folder, status="RUNNING")
    yield "from the start", put(world, index, replace(process, at="round", memory=0), again)


def train_round(
    world: World, index: int, process: Process, mends: Mends
) -> Iterator[tuple[str, World]]:
    """One round in the journal, then a commit of both files in two steps."""
    folder, done = world.folders[process.folder], process.memory
    if isinstance(done, tuple):  # between the journal's sync and the checkpoint
        (done,) = done
        after = replace(
            folder,
            previous=folder.checkpoint if folder.of == folder.ident else folder.previous,
            checkpoint=done,
            of=folder.ident,
        )
        yield "save", put(world, index, replace(process, memory=done), after)
    elif done >= ROUNDS:
        yield "end", put(world, index, replace(process, at="finish"))
    else:
        wrote = replace(folder, journal=max(folder.journal, done + 1))
        durable = wrote.journal if mends.journal_synced_first else wrote.durable
        synced = replace(wrote, durable=durable)
        yield "commit", put(world, index, replace(process, memory=(done + 1,)), synced)
        yield "round", put(world, index, replace(process, memory=done + 1), wrote)


def look(world: World, index: int, process: Process, mends: Mends) -> Iterator[tuple[str, World]]:
    """``runs mark-killed``: read the status, lock, (read again,) say KILLED."""
    if process.at == "open":
        if world.path is None or not world.folders[world.path].ident:
            yield "nothing", put(world, index, replace(process, at="done"))
        else:
            status = world.folders[world.path].status
            seen = replace(process, at="lock", folder=world.path, memory=status)
            yield "read", put(world, index, seen)
        return
    folder = world.folders[process.folder]
    if process.memory != "RUNNING" or folder.lock:
        yield "left", put(world, index, replace(process, at="done"))
        return
    status = folder.status if mends.reap_reads_again_under_lock else process.memory
    if status == "RUNNING":
        if folder.status == "FINISHED":
            raise Found("a finished run was marked KILLED")
        folder = replace(folder, status="KILLED")
    yield "reaped", put(world, index, replace(process, at="done"), folder)


def check_result(folder: Folder) -> None:
    """What a result is computed from: its own rounds, each of them, from one run."""
    if folder.gap:
        raise Found("a result from a journal that lacks rounds")
    if folder.mixed:
        raise Found("a result continued from another run's checkpoint")


def check_owners(world: World) -> None:
    """At most one process is beyond the lock of what lies at the path."""
    inside = [
        process
        for process in world.processes
        if process.kind in ("plain", "fresh") and process.at in ("begin", "round", "finish")
    ]
    if len(inside) > 1:
        raise Found("two owners of one run")


PROGRAMS: dict[str, Callable[..., Iterator[tuple[str, World]]]] = {
    "plain": start, "fresh": start, "reap": look,
}  # fmt: skip


@dataclass
class Search:
    """All worlds that can be reached; each is looked at once."""

    mends: Mends
    most_faults: int
    seen: set[World] = field(default_factory=set)

    def run(self, first: World) -> int:
        """The number of worlds; raises :class:`Found` with the way to the fault."""
        stack: list[tuple[World, tuple[str, ...]]] = [(first, ())]
        while stack:
            world, way = stack.pop()
            if world in self.seen:
                continue
            self.seen.add(world)
            try:
                check_owners(world)
                after = list(steps(world, self.mends, self.most_faults))
            except Found as fault:
                raise Found(f"{fault}: {' '.join(way)}") from None
            stack += [(next_world, (*way, name)) for name, next_world in after]
        return len(self.seen)


def begun(*kinds: str) -> World:
    """A run that an earlier process left after its first round, and processes about to start."""
    left = Folder(ident=1, journal=1, durable=1, checkpoint=1, of=1, previous=0, status="RUNNING")
    return World((left,), 0, tuple(map(Process, kinds)), next_ident=2)


STARTS = [
    ("plain", "fresh"), ("plain", "plain"), ("fresh", "fresh"), ("plain", "reap"),
    ("fresh", "reap"), ("plain", "fresh", "reap"),
]  # fmt: skip


@pytest.mark.parametrize("kinds", STARTS, ids="+".join)
def test_no_interleaving_breaks_the_protocol(kinds):
    assert Search(Mends(), most_faults=len(kinds) < 3).run(begun(*kinds)) > 100


@pytest.mark.nightly
@pytest.mark.parametrize("kinds", STARTS, ids="+".join)
def test_no_interleaving_with_more_faults_breaks_the_protocol(kinds, figure):
    worlds = Search(Mends(), most_faults=2 if len(kinds) < 3 else 1).run(begun(*kinds))
    figure("protocol", f"{' and '.join(kinds)}: {worlds} states, no fault")


@pytest.mark.parametrize(
    ("mend", "fault"),
    [
        ("lock_lies_at_path", "two owners"),
        ("reap_reads_again_under_lock", "finished run was marked KILLED"),
        ("checkpoint_knows_journal", "lacks rounds"),
        ("checkpoint_knows_run", "another run's checkpoint"),
    ],
)
def test_without_a_mend_its_fault_is_found(mend, fault):
    """The negative control of the search: it can find what was there."""
    broken = dataclasses.replace(Mends(), **{mend: False})

    def search() -> None:
        for kinds in STARTS[:5]:
            Search(broken, most_faults=1).run(begun(*kinds))

    with pytest.raises(Found, match=fault):
        search()


def test_a_journal_that_is_not_synced_first_loses_a_run_but_never_lies():
    """A loss of power then leaves a checkpoint ahead of its journal: refused, not continued."""
    ends = Search(dataclasses.replace(Mends(), journal_synced_first=False), most_faults=2)
    ends.run(begun("plain"))
    unfit = [w for w in ends.seen if any(f.checkpoint > f.journal for f in w.folders)]
    assert unfit
    synced = Search(Mends(), most_faults=1)
    synced.run(begun("plain"))
    lost = [w for w in synced.seen if any(f.of == f.ident and f.checkpoint > f.journal
                                          for f in w.folders)]  # fmt: skip
    assert all(world.faults for world in lost)
