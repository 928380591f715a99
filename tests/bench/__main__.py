"""`make bench`: every figure beside the one it has to stand up to, measured in this one run."""

import json
import os
import subprocess
import sys
from itertools import product
from typing import Any

import psycopg

from tests import real_services

FAMILIES = ("apt", "dnf", "pacman")
SIZES = (800, 2000, 5000)


def main() -> None:
    real_services.pytest_configure(None)
    try:
        print("A saved scan beside the package manager's own commands (aim: ratio at most 1.3, at most 150 MB)")
        for family, size in product(FAMILIES, SIZES):
            found = run("tests.bench.scan_speed", family, str(size))
            print(
                f"  {family:6} {size:>5} packages: own commands {found['own_commands_s']:.3f} s, "
                f"saved scan {found['saved_scan_s']:.3f} s (ratio {found['ratio']}), "
                f"unchanged host {found['saved_scan_of_unchanged_host_s']:.3f} s (ratio {found['ratio_unchanged']}), "
                f"peak memory {found['peak_memory_MB']} MB",
                flush=True,
            )
        print("The dependency graph of all installed packages (aim: 5,000 in 0.5 s)")
        for family, seconds in run("tests.bench.dependency_graph")["seconds"].items():
            print(f"  {family:6} " + ", ".join(f"{size} packages {took:.3f} s" for size, took in seconds.items()))
        print("The graph of a whole host in Chromium (aims: first paint 300 ms, 30 frames/s while panning, 150 KB)")
        found = run("tests.bench.graph_pages")
        print(
            f"  {found['packages']} packages, {found['edges']} dependencies: first paint {found['first_paint_ms']} ms "
            f"(the best {found['first_paint_best_ms']} ms), of which {found['drawing_ms']} ms for drawing "
            f"(a plain page: {found['plain_page_ms']} ms, the best {found['plain_page_best_ms']} ms)\n"
            f"  panning {found['pan_frames_per_s']} frames/s, 95 % within {found['pan_frame_p95_ms']} ms\n"
            f"  server: page {found['page_ms']} ms, data {found['data_ms']} ms, one package "
            f"{found['package_page_ms']} ms; data {found['data_bytes'] // 1000} KB, "
            f"{found['data_gzip_bytes'] // 1000} KB packed"
        )
        print("From the request to the first progress on the socket (aim: median at most 100 ms, p99 at most 300 ms)")
        found = run("tests.bench.live_latency")
        print(f"  {found['runs']} scans: median {found['median_ms']} ms, p99 {found['p99_ms']} ms")
        print("Webhooks with log and ORM (aims: 200 deliveries/s; idle p50 20, p99 50 ms; fan-out 1 s; filters 0.5 s)")
        found = run("tests.bench.webhooks")
        print(
            f"  {found['deliveries_per_s']} deliveries/s (empty tasks of Celery: {found['empty_tasks_per_s']}/s)\n"
            f"  idle, event to arrival: p50 {found['idle_p50_ms']} ms, p99 {found['idle_p99_ms']} ms\n"
            f"  one event to {found['endpoints']} endpoints: {found['fan_out_s']} s\n"
            f"  {found['filters']} filters: {found['filters_s']} s, {found['new_filters_s']} s if all are new"
        )
        print("Vulnerabilities beside debsecan (aims: import 5 s, 150 MB; match 300 ms, warm 20 ms; fleet 120 s)")
        found = run("tests.bench.vulnerabilities")
        print(
            f"  {found['rows']} rows: import {found['import_s']} s (CPU {found['import_cpu_s']} s), "
            f"{found['import_MB']} MB; next edition {found['import_of_next_edition_s']} s\n"
            f"  {found['packages']} packages, {found['findings']} findings: debsecan {found['debsecan_s']} s, "
            f"{found['debsecan_MB']} MB; check_inventory {found['check_inventory_s']} s, "
            f"{found['check_inventory_MB']} MB\n"
            f"  from the database {found['match_cold_ms']} ms, warm {found['match_warm_ms']} ms\n"
            f"  {found['hosts']} hosts, {found['package_sets']} package sets, {found['package_versions']} versions: "
            f"{found['feed_update_of_fleet_s']} s for a feed's update"
        )
        print("Exports of 10,000 packages (aim: at most 2 s)")
        found = run("tests.bench.exports", database="exports")
        print("  " + ", ".join(f"{name} {seconds} s" for name, seconds in found["seconds"].items()))
        print("10,000 hosts, 1,000,000 scans (aims: pages and lists 100 ms, 20 queries; /metrics 1 s)")
        found = run("tests.bench.pages", database="pages")["addresses"]
        for address, (median, slowest, queries, kilobytes) in found.items():
            print(f"  {median:>5} ms (slowest {slowest}), {queries:>2} queries, {kilobytes:>5} KB  {address}")
    finally:
        real_services.pytest_unconfigure(None)


def run(module: str, *words: str, database: str = "") -> Any:
    """`database`: an empty one of its own, of that name."""
    if database:
        with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {database}")
    env = real_services.environment(database)
    done = subprocess.run([sys.executable, "-m", module, *words], stdout=subprocess.PIPE, env=env, check=True)
    return json.loads(done.stdout)


if __name__ == "__main__":
    main()
