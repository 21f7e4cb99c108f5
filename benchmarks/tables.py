"""Write the tables of README.md and docs/performance.md from the records.

    python benchmarks/tables.py

A table stands between ``<!-- NAME -->`` and ``<!-- end -->``, where NAME is a function below; a test holds both pages
to what the records say.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from _record import RECORDS, filled, markdown, read_record

PAGES = [Path(__file__).parents[1] / name for name in ("README.md", "docs/performance.md", "docs/search.md")]


def read(name: str) -> dict[str, Any]:
    """The record of that name."""
    return read_record(RECORDS, name)


def peers() -> str:
    """An epoch of the whole sweep, by every peer."""
    results = read("peers-cpu")["results"]
    rows = []
    for widths in dict.fromkeys(tuple(row["widths"]) for row in results):
        group = sorted((r for r in results if tuple(r["widths"]) == widths), key=lambda row: row["warm"]["median"])
        ours = next(row["warm"] for row in group if row["name"] == "jax-packed")
        for row in group:
            accuracies = [100 * accuracy for accuracy in row["test_accuracy"]]
            rows.append(
                [
                    row["title"],
                    str(len(widths)),
                    f"{row['cold']:.1f}",
                    f"{row['cached']:.1f}" if row.get("cached") else "",
                    *(f"{row['warm'][key]:.2f} ({row['warm'][key] / ours[key]:.2f} ×)" for key in ("median", "min")),
                    f"{accuracies[0]:.1f} … {accuracies[-1]:.1f}",
                ]
            )
    return markdown(["program", "widths", "cold", "cached", "warm: median", "least", "test accuracy (%)"], rows)


def whole_process() -> str:
    """Whole programs."""
    results = read("whole-process-cpu")["results"]
    keras = max(row["whole"]["median"] for row in results)
    rows = [
        [row["title"], f"{row['whole']['median']:.1f}", f"{keras / row['whole']['median']:.1f} ×"]
        for row in sorted(results, key=lambda row: row["whole"]["median"])
    ]
    return markdown(["program", "seconds", "as fast"], rows)


def startup() -> str:
    """From the start of the process."""
    rows = [[row["name"], f"{row['whole']['median']:.2f}"] for row in read("startup-cpu")["results"]]
    return markdown(["from the start of the process", "seconds"], rows)


def limits() -> str:
    """How near the machine's limit an epoch comes."""
    record = read("roofline-cpu")
    rows = []
    for limit in record["limits"]:
        parts = {row["title"]: row["least"] for row in record["results"] if row["widths"] == limit["widths"]}
        rate = max(limit["memory_bytes_a_second"], limit["parameters_bytes_a_second"])
        epoch = parts["an epoch of the sweep"]
        rows.append(
            [
                str(len(limit["widths"])),
                f"{limit['operations'] / 1e9:.1f} G at {limit['matmul_operations_a_second'] / 1e9:.0f} G/s",
                f"{limit['bytes'] / 1e9:.1f} GB at {rate / 1e9:.0f} GB/s",
                f"{limit['limit_one_after_the_other']:.2f} s",
                f"{epoch:.2f} s",
                f"{100 * limit['reached_one_after_the_other']:.0f} %",
                f"{epoch / parts['the two products alone']:.2f} ×",
                f"{epoch / parts['the two products alone, undivided, all pixels, as JAX compiles them']:.2f} ×",
            ]
        )
    headings = ["widths", "operations", "bytes", "limit", "an epoch", "reached"]
    return markdown([*headings, "against the products", "against JAX's own products"], rows)


def aims() -> str:
    """What was aimed at, what is reached, and what the first layers' products alone would reach."""
    results, record = read("peers-cpu")["results"], read("roofline-cpu")
    whole = {row["title"]: row["whole"]["median"] for row in read("whole-process-cpu")["results"]}
    products = {
        len(row["widths"]): row["least"] for row in record["results"] if row["title"] == "the two products alone"
    }

    def warm(name: str, widths: int) -> float:
        found = next(r["warm"] for r in results if r["name"] == name and len(r["widths"]) == widths)
        return float(found["median"])

    rows = []
    for name, widths, aim in (
        ("keras-tensorflow", 6, 7),
        ("scikit-learn", 6, 5),
        ("torch-padded", 6, 4),
        ("torch", 6, 3),
        ("jax", 6, 3),
        ("parallel-mlps", 20, 6),
    ):
        title = next(row["title"] for row in results if row["name"] == name)
        ours = (warm("jax-packed", widths), warm("jax-packed-one", widths), products[widths])
        rows.append([f"{title}, {widths} widths", f"{aim} ×", *(f"{warm(name, widths) / each:.1f} ×" for each in ours)])
    keras = whole["Keras, TensorFlow backend, 1 seed"]
    for program, least_wanted in (
        ("mlp-jax sweep, 1 seed", "6 ×"),
        ("mlp-jax sweep, 1 seed, compiled before", "6 ×"),
        ("mlp-jax sweep, 5 seeds", "more than 1 ×"),
    ):
        rows.append(
            [f"Keras's whole program, one seed, by {program}", least_wanted, f"{keras / whole[program]:.1f} ×", "", ""]
        )
    return markdown(["against", "aim", "reached", "undivided", "products alone"], rows)


def parts() -> str:
    """Where an epoch's time goes."""
    rows = [
        [row["title"], str(len(row["widths"])), f"{row['against_products']:.2f} ×", f"{row['least']:.2f}"]
        for row in read("roofline-cpu")["results"]
    ]
    return markdown(["part", "widths", "against the products", "seconds"], rows)


def precision() -> str:
    """What lower precision gains and costs."""
    results = read("precision-cpu")["results"]
    rows = []
    for row in results:
        pairs = zip(row["test_accuracy"], row["test_accuracy_deviation"], strict=True)
        scores = (f"{100 * mean:.2f} ± {100 * deviation:.2f}" for mean, deviation in pairs)
        rows.append([row["title"], *scores, f"{row['warm']['median']:.2f}"])
    return markdown(["`--precision`", *(f"M = {width}" for width in results[0]["widths"]), "seconds"], rows)


def layouts() -> str:
    """Layouts, and replicas side by side."""
    found = [
        (row["layout"], row["replicas_at_once"], row["seconds_an_epoch_and_replica"])
        for row in read("layouts-cpu")["results"]
    ]
    best = min(seconds["median"] for *_, seconds in found)
    rows = [
        [layout, str(beside), f"{s['median']:.3f}", f"{s['min']:.3f}", f"{s['median'] / best:.2f} ×"]
        for layout, beside, s in found
    ]
    return markdown(["layout", "side by side", "median (s)", "least (s)", "against the best"], rows)


def checkpoints() -> str:
    """What checkpoints cost."""
    rows = [
        [
            row["checkpoints"],
            str(row["epochs"]),
            *(f"{row[key]:.2f}" for key in ("epoch", "training", "waited")),
            f"{100 * row['share']:.1f} %",
        ]
        for row in read("checkpoints-cpu")["costs"]
    ]
    return markdown(["checkpoints", "epochs", "median epoch (s)", "training (s)", "waited (s)", "share"], rows)


def accelerators() -> str:
    """What compilers for accelerators make of a step of training; no figure of it was measured unless it says so."""
    record = read("accelerators")
    rows = []
    for target, results in record["results"].items():
        for row in results:
            step, least = row["programs"]["epoch"], max(row["floor"], key=lambda name: row["floor"][name])
            ran = row.get("measured", {}).get("step_seconds")
            rows.append(
                [
                    f"{record['rates'][target]['title']}, {row['title']}",
                    row["layout"],
                    f"{step['kernels']:,}",
                    f"{step['written'] / 1e6:.1f} + {step['read'] / 1e6:.1f}",
                    f"{(step['written'] + step['read']) / row['useful']['bytes']:.2f} ×",
                    f"{step['operations'] / row['useful']['operations']:.2f} ×",
                    f"{step['cycles']:,}" if "cycles" in step else "",
                    f"{1e6 * row['floor'][least]:,.0f} ({least})",
                    f"{1e6 * ran:,.0f} ({ran / row['floor'][least]:.2f} ×)" if ran else "",
                ]
            )
    headings = ["computed", "layout", "kernels", "MB written, read", "of 36 B a parameter", "of the operations"]
    return markdown([*headings, "cycles", "at least (µs)", "measured (µs)"], rows)


def accelerator_aims() -> str:
    """What was aimed at, before and now: computed."""
    records = [read("accelerators-before"), read("accelerators")]

    def found(target: str, case: str, figure: Callable[[dict[str, Any]], float]) -> list[float]:
        chosen = ("packed", case)
        return [
            next(figure(row) for row in record["results"][target] if (row["layout"], row["case"]) == chosen)
            for record in records
        ]

    def of_step(name: str) -> Callable[[dict[str, Any]], float]:
        return lambda row: float(row["programs"]["epoch"][name])

    def of_bytes(row: dict[str, Any]) -> float:
        step = row["programs"]["epoch"]
        return float(step["read"] + step["written"]) / float(row["useful"]["bytes"])

    rows = []
    for title, target, case, figure, shown, wanted in (
        ("H100: kernels a step, 1 replica", "h100", "one", of_step("kernels"), "{:,.0f}", ("16", "6")),
        ("H100: kernels a step, 5 replicas", "h100", "five", of_step("kernels"), "{:,.0f}", ("16", "6")),
        ("H100: kernels a step, 20 widths", "h100", "twenty-widths", of_step("kernels"), "{:,.0f}", ("20", "8")),
        ("and 4 activations", "h100", "eighty-trials", of_step("kernels"), "{:,.0f}", ("20", "8")),
        ("H100: bytes of 36 a parameter, 5 replicas", "h100", "five", of_bytes, "{:.2f} ×", ("1.15 ×", "0.85 ×")),
        ("H100: the same, 200 replicas", "h100", "two-hundred", of_bytes, "{:.2f} ×", ("1.15 ×", "0.85 ×")),
        ("TPU v5e: cycles, 16 replicas", "v5e", "sixteen", of_step("cycles"), "{:,.0f}", ("530,000", "430,000")),
        ("the same, bfloat16", "v5e", "sixteen-bfloat16", of_step("cycles"), "{:,.0f}", ("", "150,000")),
    ):
        rows.append([title, *(shown.format(each) for each in found(target, case, figure)), *wanted])
    return markdown(["computed, packed layout", "before", "now", "to reach", "aim"], rows)


def accelerator_memory() -> str:
    """What a sweep takes of an accelerator's memory."""
    record = read("accelerators")
    rows = []
    for target, results in record["results"].items():
        for row in results:
            plan, compiler = row["memory"]["plan"], row["memory"]["compiler"]
            title = f"{record['rates'][target]['title']}, {row['title']}"
            rows.append(
                [title, row["layout"], f"{plan / 1e6:.0f}", f"{compiler / 1e6:.0f}", f"{plan / compiler:.2f} ×"]
            )
    return markdown(["computed", "layout", "foreseen (MB)", "by the compiler", "foreseen against it"], rows)


def accelerator_kernels() -> str:
    """The kernels of a step, one by one."""
    found = next(row for row in read("accelerators")["results"]["h100"] if "named" in row)
    rows = [
        [
            str(number),
            kernel["kind"],
            f"`{kernel['source']}`",
            ", ".join(kernel["makes"]),
            f"{kernel['written'] / 1e3:,.0f}",
            f"{kernel['read'] / 1e3:,.0f}",
        ]
        for number, kernel in enumerate(found["named"], start=1)
    ]
    return markdown(["kernel", "kind", "from", "makes", "KB written", "read"], rows)


def searches() -> str:
    """A search beside the whole sweep and beside tuners, which have as many epochs as a search with one seed takes."""
    record = read("search-cpu")
    rows = []
    for row in record["results"]:
        took, part = row["seconds"]["median"], row.get("reckoned")
        measured = f"≈ {part['median']:.0f}" if part else f"{took:.0f}"
        share = f"{100 * row['compile']['median'] / took:.0f} %" if "compile" in row else ""
        times = f"{row['times_ours']['median']:.1f} ×" if "times_ours" in row else ""
        rows.append([row["title"], measured, times, share, f"{100 * row['best_validation']['median']:.2f}"])
    problem = record["problem"]
    summary = (
        f"{problem['widths']} widths × {problem['rates']} rates, {problem['epochs']} epochs at most, "
        f"{problem['train_examples']:,} images, {problem['seeds']} seeds where not said otherwise or of a tuner: "
        f"the search takes {record['share']:.2f} × the time of the sweep, and what it picks is "
        f"{100 * record['behind']:.2f} points behind the sweep's best (whose standard error is "
        f"{100 * record['standard_error']:.2f})."
    )
    headings = ["", "seconds", "against the search with 1 seed", "compilation", "best validation accuracy (%)"]
    return f"{summary}\n\n{markdown(headings, rows)}"


TABLES: dict[str, Callable[[], str]] = {
    table.__name__: table
    for table in (
        peers,
        whole_process,
        startup,
        limits,
        aims,
        parts,
        precision,
        layouts,
        checkpoints,
        accelerator_aims,
        accelerators,
        accelerator_memory,
        searches,
        accelerator_kernels,
    )
}


def main() -> None:
    """Write the pages."""
    for page in PAGES:
        page.write_text(filled(page.read_text(encoding="utf-8"), TABLES), encoding="utf-8")


if __name__ == "__main__":
    main()
