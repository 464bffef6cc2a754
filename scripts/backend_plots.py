"""Pictures and tables of what measure-backends.py has measured, as SVG and Markdown; no other package is needed."""
import math, statistics

COLOURS = {
    "four alone": "#909090", "round_robin": "#d9572b", "least_conn": "#b7860b", "random": "#7a5bd0",
    "peak_ewma": "#2a78d6", "prequal": "#12936a",
}
QUANTILES = [1 - 10 ** (-step / 10) for step in range(0, 36)]


def name_of(run):
    return "four alone" if run["servers"] == 4 else run["algorithm"]


def at(curve, quantile):
    """The latency at a quantile, of pairs of milliseconds and quantiles in their order."""
    return next((value for value, reached in curve if reached >= quantile), curve[-1][0])


def text(x, y, said, more=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" {more}>{said}</text>\n'


def svg(width, height, title, body):
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" font-size="13">\n'
        f'<rect width="{width}" height="100%" fill="white"/>\n'
        + text(16, 24, title, 'font-size="15" font-weight="bold"') + body + "</svg>\n"
    )


def latency_curves(title, curves):
    """Latency by percentile; both axes are logarithmic, so that the tail has room."""
    left, top, width, height, decades = 64, 78, 760, 380, 3.5
    low, high = 5.0, max(max(values) for values in curves.values()) * 1.1
    x_of = lambda quantile: left - math.log10(1 - quantile) / decades * width
    y_of = lambda value: top + height - math.log(max(value, low) / low) / math.log(high / low) * height
    body = ""
    for value in [5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000]:
        if value <= high:
            body += f'<line x1="{left}" x2="{left + width}" y1="{y_of(value):.1f}" y2="{y_of(value):.1f}" stroke="#e5e4df"/>\n'
            body += text(left - 8, y_of(value) + 4, f"{value} ms", 'text-anchor="end" font-size="11"')
    for quantile in [0, 0.5, 0.9, 0.99, 0.999]:
        body += f'<line x1="{x_of(quantile):.1f}" x2="{x_of(quantile):.1f}" y1="{top}" y2="{top + height}" stroke="#e5e4df"/>\n'
        body += text(x_of(quantile), top + height + 18, f"{quantile * 100:g} %", 'text-anchor="middle" font-size="11"')
    for place, (name, values) in enumerate(curves.items()):
        points = " ".join(f"{x_of(q):.1f},{y_of(v):.1f}" for q, v in zip(QUANTILES, values))
        body += f'<polyline points="{points}" fill="none" stroke="{COLOURS[name]}" stroke-width="2"/>\n'
        body += f'<rect x="{left + place * 128}" y="42" width="11" height="11" fill="{COLOURS[name]}"/>\n'
        body += text(left + 16 + place * 128, 52, name, 'font-size="12"')
    return svg(left + width + 36, top + height + 34, title, body)


def shares(title, picks):
    """The share of each server's requests, a row of bars for each algorithm; the last server is the slow one."""
    left, width, bar, y, body = 120, 560, 13, 56, ""
    most = max(max(counts.values()) / sum(counts.values()) for counts in picks.values())
    for name, counts in picks.items():
        total = sum(counts.values())
        body += text(left - 8, y + bar * len(counts) / 2 + 4, name, 'text-anchor="end"')
        for place, (server, count) in enumerate(counts.items()):
            share, is_slow = count / total, place == 4
            body += f'<rect x="{left}" y="{y}" width="{share / most * width:.1f}" height="{bar - 2}" fill="{"#d9572b" if is_slow else "#4878a8"}"/>\n'
            body += text(left + share / most * width + 5, y + 10, f"{share:.2%} {'the slow one' if is_slow else server}", 'font-size="11"')
            y += bar
        y += 10
    return svg(860, y + 6, title, body)


def slow_server(runs, directory):
    """One slow server of five: medians over the rounds. A round begins with the four alone, to which its other runs are compared."""
    rounds = []
    for run in runs:
        if name_of(run) == "four alone":
            rounds.append({})
        rounds[-1][name_of(run)] = run
    whole = [one for one in rounds if len(one) == len(COLOURS)]
    first = runs[0]
    about = f"One slow server of five (10 × latency), {first['rate']:,} requests/s, {len(whole)} rounds of {first['seconds']:.0f} s"
    curves = {name: [statistics.median(at(one[name]["curve"], q) for one in whole) for q in QUANTILES] for name in COLOURS}
    with open(f"{directory}/backends_slow_latency.svg", "w") as file:
        file.write(latency_curves(about, curves))
    picks = {
        name: {server: sum(one[name]["picks"][server] for one in whole) for server in whole[0][name]["picks"]} for name in COLOURS
    }
    with open(f"{directory}/backends_slow_shares.svg", "w") as file:
        file.write(shares(f"{about}: share of the requests", picks))
    print(about)
    print("| | p50, ms | p99, ms | p99, of the four alone | p99.9, ms | share of the slow one |\n| --- | --- | --- | --- | --- | --- |")
    for name in COLOURS:
        of = lambda key: [one[name]["latency_us"][key] / 1000 for one in whole]
        spread = lambda values, form: f"{statistics.median(values):{form}} ({min(values):{form}}–{max(values):{form}})"
        ratios = [one[name]["latency_us"]["p99"] / one["four alone"]["latency_us"]["p99"] for one in whole]
        share = picks[name].get("s5", 0) / sum(picks[name].values())
        print(f"| `{name}` | {statistics.median(of('p50')):.1f} | {spread(of('p99'), '.1f')} | {spread(ratios, '.2f')} | {spread(of('p99_9'), '.0f')} | {share:.2%} |")
    print("errors:", [sum(one[name]["errors"].values()) for one in whole for name in COLOURS])
