"""What a callback costs: this receiver beside programs that do less, and what people write today.

    python -m tests.tools.bench            one table, and a plot, in bench-results/

Two sides are measured in turn (A B A B …) and compared pair by pair; the figure is the median.  CPU
time is that of the server's own process, user and system, as the kernel counts it; the load comes
from wrk on another core.  Speeds of two runs of the whole thing say little, ratios in one run do.
"""
