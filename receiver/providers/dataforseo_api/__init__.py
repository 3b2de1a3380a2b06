"""Conversations with DataForSEO's and DataForApps' API v3.

Success is judged by `tasks[].status_code`, never by HTTP: nearly every reply is HTTP 200
(docs.dataforseo.com/v3/appendix/errors).

    lists      finished tasks, failed calls, all tasks of a period
    tasks      one task's result; operations on many tasks
    account    the state of the service, and the account
    answer     the envelope that every reply has
    policy     the limits on calls
"""

from receiver.providers.dataforseo_api.account import status, user_data
from receiver.providers.dataforseo_api.answer import read_time, write_time
from receiver.providers.dataforseo_api.lists import (
    APIS,
    Ready,
    ReadyList,
    errors,
    id_list,
    tasks_ready,
)
from receiver.providers.dataforseo_api.policy import POLICY
from receiver.providers.dataforseo_api.tasks import (
    FORCE_STOP_MAX,
    RESEND_MAX,
    Collected,
    batches,
    force_stop,
    task_get,
    webhook_resend,
)

__all__ = [
    "APIS",
    "FORCE_STOP_MAX",
    "POLICY",
    "RESEND_MAX",
    "Collected",
    "Ready",
    "ReadyList",
    "batches",
    "errors",
    "force_stop",
    "id_list",
    "read_time",
    "status",
    "task_get",
    "tasks_ready",
    "user_data",
    "webhook_resend",
    "write_time",
]
