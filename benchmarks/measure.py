"""Interleaved timing: what the other scripts share."""

import json
import statistics
import sys
import time


def interleaved(rounds, **functions):
    """Call the functions in turn, `rounds` times after one warm-up each.

    Returns:
        By name, the list of seconds, and whatever the functions returned last.
    """
    seconds = {name: [] for name in functions}
    results = {}
    for function in functions.values():
        function()
    for _ in range(rounds):
        for name, function in functions.items():
            start = time.perf_counter()
            results[name] = function()
            seconds[name].append(time.perf_counter() - start)
    return seconds, results


def ratios(seconds, base):
    """Divide the times of each round by those of `base`, and give median, least and most."""
    return {
        name: spread([t / b for t, b in zip(times, seconds[base], strict=True)])
        for name, times in seconds.items()
        if name != base
    }


def spread(values):
    """Give median, least and most of some figures."""
    return {
        "median": round(statistics.median(values), 4),
        "least": round(min(values), 4),
        "most": round(max(values), 4),
    }


def report(name, **figures):
    """Print the figures of one benchmark as JSON."""
    json.dump({"benchmark": name, **figures}, sys.stdout, indent=2)
    print()
