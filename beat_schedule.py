"""What runs when: entry -> task, the setting that holds its interval, and its queue. Imports nothing of ours.

A tick that waited longer than its interval is dropped (`workers/app.py` sets `expires`): the next one does
the same work, so nothing piles up behind a worker that was away.
"""

SCHEDULE = {
    "poll-market": {"task": "market.poll_market", "every": "market.poll_interval"},
    "reconcile": {"task": "trading.reconcile", "every": "monitoring.reconcile_interval"},
    "sweep": {"task": "trading.sweep", "every": "monitoring.sweep_interval"},
    "check-health": {"task": "system.check_health", "every": "monitoring.health_interval"},
    "maintain": {"task": "system.maintain", "every": "monitoring.maintenance_interval"},
    "advance-experiment": {"task": "learning.advance_experiment", "every": "self_optimization.interval"},
}
