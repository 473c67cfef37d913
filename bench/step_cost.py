"""Measures a step in torch, and prints its cost as the JSON that `bench/training.ts` reads."""

import json
import resource
import time


def print_step_cost(step, settings):
    times, processor = [], []
    for _ in range(settings["warmups"] + settings["rounds"]):
        started, used = time.perf_counter(), time.process_time()
        step()
        times.append(1000 * (time.perf_counter() - started))
        processor.append(1000 * (time.process_time() - used))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    for line in open("/proc/self/status"):
        if line.startswith("VmHWM"):
            peak = int(line.split()[1]) * 1024
    warm = settings["warmups"]
    print(json.dumps({"steps": times[warm:], "processor": processor[warm:], "peakBytes": peak}))
