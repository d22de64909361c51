"""What Ray is told where tests start one: on a busy machine a node or a worker that starts slowly is not dead, and to
end it and start another takes the more."""

from __future__ import annotations

PATIENT = {
    "RAY_agent_register_timeout_ms": "180000",
    "RAY_health_check_failure_threshold": "40",
    "RAY_worker_register_timeout_seconds": "600",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "600",
}
"""Environment variables."""
