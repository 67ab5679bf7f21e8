"""Measures the code of a checkout: `python -m tests.house [CHECKOUT]`; one run, one table."""

import ast
import re
import statistics
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import grimp

LONG = 35
"""Lines of a function that are too many, and arguments of a constructor, and files of a package."""
MANY = 7
FULL = 12
ANNOUNCE = re.compile(r"\.announce\(")
LIFECYCLE = "app/services/tasks/lifecycle.py"
"""The one place that may wake others by hand."""
PACKAGES = ("app", "simulator")
LAYERED = ("app.services", "app.store")

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Code:
    """The files of a checkout's code, by path from its root."""

    files: dict[str, str]
    trees: dict[str, ast.AST]

    @classmethod
    def of(cls, root: Path) -> "Code":
        paths = sorted(path for package in PACKAGES for path in root.glob(f"{package}/**/*.py"))
        files = {str(path.relative_to(root)): path.read_text("utf-8") for path in paths}
        return cls(files, {name: ast.parse(text) for name, text in files.items()})

    def nodes(self) -> Iterator[tuple[str, ast.AST]]:
        for name, tree in self.trees.items():
            for node in ast.walk(tree):
                yield name, node

    def functions(self) -> list[tuple[str, Function]]:
        return [(name, node) for name, node in self.nodes() if isinstance(node, Function)]


def length(function: Function) -> int:
    return (function.end_lineno or function.lineno) - function.lineno + 1


def bare(function: Function) -> int:
    """Return the lines without the docstring."""
    first = function.body[0]
    if ast.get_docstring(function) is None:
        return length(function)
    return length(function) - ((first.end_lineno or first.lineno) - first.lineno + 1)


def arguments(constructor: Function) -> int:
    given = constructor.args
    return len([*given.posonlyargs, *given.args, *given.kwonlyargs]) - 1


def crowded(code: Code) -> list[tuple[str, int]]:
    """Return constructors that are written out and take more than `MANY`."""
    found = [
        (f"{name} {owner.name}", arguments(member))
        for name, owner in code.nodes()
        if isinstance(owner, ast.ClassDef)
        for member in owner.body
        if isinstance(member, Function) and member.name == "__init__"
    ]
    return sorted(((one, n) for one, n in found if n > MANY), key=lambda each: -each[1])


def woken(code: Code) -> list[tuple[str, int]]:
    """Return where others are woken by hand, outside the lifecycle."""
    found = ((name, len(ANNOUNCE.findall(text))) for name, text in code.files.items())
    return [(name, n) for name, n in found if n and name != LIFECYCLE]


def packages(code: Code) -> Counter[str]:
    """Return the modules of each package: the longer a list, the less its name says."""
    return Counter(
        name.rpartition("/")[0] for name in code.files if not name.endswith("__init__.py")
    )


def arrows(graph: grimp.ImportGraph, package: str) -> dict[str, set[str]]:
    """Return which children of the package import which, each with all that is below it."""
    children = graph.find_children(package)
    family = {child: {child, *graph.find_descendants(child)} for child in children}
    home = {module: child for child, all_ in family.items() for module in all_}
    return {
        child: {
            home[imported]
            for module in modules
            for imported in graph.find_modules_directly_imported_by(module)
            if imported in home
        }
        - {child}
        for child, modules in family.items()
    }


def cycles(found: dict[str, set[str]]) -> list[list[str]]:
    """Return the groups of those that reach each other."""
    reach = {one: _reached(found, one) for one in found}
    groups = {tuple(sorted({one, *(o for o in reach[one] if one in reach[o])})) for one in found}
    return [list(group) for group in sorted(groups) if len(group) > 1]


def _reached(found: dict[str, set[str]], start: str) -> set[str]:
    reached: set[str] = set()
    ahead = [start]
    while ahead:
        new = found[ahead.pop()] - reached
        reached |= new
        ahead.extend(new)
    return reached


def spread(numbers: Sequence[int]) -> str:
    """Return median / p90 / maximum."""
    tenths = statistics.quantiles(numbers, n=10)
    return f"{statistics.median(numbers):.0f} / {tenths[8]:.0f} / {max(numbers)}"


def listed(found: Iterable[tuple[str, int]]) -> str:
    return "; ".join(f"{name} ({n})" for name, n in found) or "none"


def _sizes(code: Code) -> Iterator[tuple[str, str]]:
    lines = [len(text.splitlines()) for text in code.files.values()]
    functions = [function for _, function in code.functions()]
    for name, measure in (("functions", length), ("functions without docstring", bare)):
        sizes = [measure(function) for function in functions]
        over = sum(size > LONG for size in sizes)
        yield f"{name}: median / p90 / max", spread(sizes)
        yield f"{name} over {LONG} lines", f"{over} ({over / len(sizes):.1%})"
    yield "files / lines", f"{len(lines)} / {sum(lines)}"
    yield "files: median / p90 / max", spread(lines)


def _imports(root: Path) -> Iterator[tuple[str, str]]:
    sys.path.insert(0, str(root))
    graph = grimp.build_graph("app", cache_dir=None)
    for package in LAYERED:
        found = arrows(graph, package)
        rings = cycles(found)
        shown = "; ".join(" = ".join(ring) for ring in rings) or "none"
        yield f"{package}: arrows", str(sum(map(len, found.values())))
        yield f"{package}: import cycles", shown.replace(f"{package}.", "")


def rows(root: Path) -> Iterator[tuple[str, str]]:
    """Return the measures by name."""
    code = Code.of(root)
    sizes = packages(code)
    yield from _sizes(code)
    yield f"constructors over {MANY} arguments", listed(crowded(code))
    by_hand = woken(code)
    yield "wake-ups by hand", f"{sum(n for _, n in by_hand)}: {listed(by_hand)}"
    yield "modules in a package: most", str(max(sizes.values()))
    yield f"packages over {FULL} modules", listed((p, n) for p, n in sizes.items() if n > FULL)
    yield from _imports(root)


def main(given: Sequence[str]) -> None:
    for name, value in rows(Path(given[0] if given else ".").resolve()):
        sys.stdout.write(f"{name:<46} {value}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
