"""The harness: what is claimed about speed and size is measured by a module in here, beside its anchors in the same run.

    python -m benchmarks                      # all of them: make bench
    python -m benchmarks lookup visibility    # some
    python -m benchmarks lookup --quick --compare benchmarks/results/2026-11-25.json

Every module in this folder that defines `measure(run)` is a benchmark, under its own name; `harness.run.Run` is all it
needs to know. `anchors/` holds what others do about the same job.
"""
