"""Names of the Redis keys: RQ's, and a few of our own below ``…:dataflow:``.

The prefix is ``rq`` unless ``RQ_KEY_PREFIX`` says otherwise, as in RQ itself; ``{rq}`` keeps all keys in one slot of a
Redis cluster. The Lua scripts build the same names from the prefix that they are given.

    rq:queues                        set    keys of all queues
    rq:queue:NAME                    list   job ids, taken from the left
    rq:job:ID                        hash   the job
    rq:job:ID:dependents             set    jobs that wait for it
    rq:job::ID:dependencies          set    jobs that it waits for
    rq:results:ID                    stream its last ten results
    rq:executions:ID                 zset   its running executions
    rq:execution:ID:EXECUTION        hash   one of them
    rq:wip:NAME                      zset   ID:EXECUTION of a queue's running jobs, by when they count as abandoned
    rq:finished|failed|deferred|ready|scheduled|canceled:NAME   zset   a queue's other registries
    rq:workers, rq:workers:NAME      set    keys of the workers, of those of a queue
    rq:worker:NAME                   hash   a worker
    rq:worker:NAME:executions        set    ID:EXECUTION of what it runs
    rq:pubsub:NAME                   channel commands to a worker
    rq:suspended                     string its presence makes all workers pause
    rq:dataflow:leases               zset   our workers, by when they count as dead
    rq:dataflow:breaker:NAME         string an open circuit breaker that processes share: when one may probe
    rq:dataflow:order:KEY            list   jobs of an ordering key that have not ended; the first has the turn
    rq:dataflow:orders               zset   ordering keys with such jobs, by when one looked last
    rq:dataflow:metrics              hash   what all our workers counted (metrics.py)
    rq:dataflow:progress:ID          stream tells those who follow a job that a node of it began or ended; expires
    rq:dataflow:events:OWNER:TABLE   stream change events of a table; of a type of messages, OWNER:@TYPE
    rq:dataflow:events:OWNER         hash   the streams of an instance → how many events were published into each
    rq:dataflow:captures             set    instances whose changes are, or were, captured
    rq:dataflow:capture:OWNER        hash   how far the capture of an instance's changes is (events/publisher.py)
    rq:dataflow:capture-lock:OWNER   string token of the process that captures; expires
    rq:dataflow:capture-times:OWNER  zset   positions in the streams, by when they were published
    rq:dataflow:event-cursors:OWNER:TABLE  hash  readers of a stream without a group → id of what they have done
    rq:dataflow:events-dead:OWNER    stream events that a reader could not do, and why
    rq:dataflow:triggers:OWNER       set    names of an instance's triggers
    rq:dataflow:trigger:OWNER:NAME   hash   one of them (dataflow/events/triggers/store.py)
    rq:dataflow:trigger-changes:OWNER  stream its last entry tells that a trigger was added, changed or removed
    rq:dataflow:events-trimmed:OWNER hash   streams → id of the last event that was removed because of age or number;
                                            stream and reader → the same, where the reader had yet to do it
    rq:dataflow:event-runs:OWNER:READER  hash  the last run of an EventSourceNode that reads under a name, and its range
    rq:dataflow:spent:TIME           set    signatures of jobs that finished, by when they end (tens of s)
    rq:dataflow:schedules:OWNER      zset   an instance's schedules, by when each starts next; +inf where it does not
    rq:dataflow:schedule:OWNER:NAME  hash   one of them (dataflow/schedules/store.py)
    rq:dataflow:schedule:OWNER:NAME:ticks   list   its last 20 ticks, newest first (JSON)
    rq:dataflow:scheduler:OWNER      string name of the scheduler that leads; expires where it does not renew it
"""

from __future__ import annotations

import os
import re

from dataflow.errors import ConfigurationError

#: The first part of every key.
PREFIX = os.environ.get("RQ_KEY_PREFIX", "rq")

if not re.fullmatch(r"[A-Za-z0-9_.:{}-]+", PREFIX):
    raise ConfigurationError(
        f"RQ_KEY_PREFIX is {PREFIX!r}.", hint="Only letters, digits and _ . : - { } may be part of it."
    )

QUEUES = f"{PREFIX}:queues"
WORKERS = f"{PREFIX}:workers"
SUSPENDED = f"{PREFIX}:suspended"
LEASES = f"{PREFIX}:dataflow:leases"
METRICS = f"{PREFIX}:dataflow:metrics"
CAPTURES = f"{PREFIX}:dataflow:captures"


def queue(name: str) -> str:
    """List of a queue's waiting jobs."""
    return f"{PREFIX}:queue:{name}"


def registry(kind: str, name: str) -> str:
    """A queue's registry: ``wip``, ``finished``, ``failed``, ``deferred``, ``ready``, ``scheduled`` or ``canceled``."""
    return f"{PREFIX}:{kind}:{name}"


def job(job_id: str) -> str:
    """Hash of a job."""
    return f"{PREFIX}:job:{job_id}"


def dependencies(job_id: str) -> str:
    """Set of the jobs that a job waits for."""
    return f"{PREFIX}:job::{job_id}:dependencies"


def dependents(job_id: str) -> str:
    """Set of the jobs that wait for a job."""
    return f"{PREFIX}:job:{job_id}:dependents"


def progress(job_id: str) -> str:
    """Stream that grows when a node of a job begins or ends."""
    return f"{PREFIX}:dataflow:progress:{job_id}"


def results(job_id: str) -> str:
    """Stream of a job's results."""
    return f"{PREFIX}:results:{job_id}"


def worker(name: str) -> str:
    """Hash of a worker."""
    return f"{PREFIX}:worker:{name}"


def order(ordering_key: str) -> str:
    """List of the jobs of an ordering key that have not ended."""
    return f"{PREFIX}:dataflow:order:{ordering_key}"


def worker_executions(name: str) -> str:
    """Set of what a worker runs."""
    return f"{PREFIX}:worker:{name}:executions"


def pubsub(name: str) -> str:
    """Channel of commands to a worker."""
    return f"{PREFIX}:pubsub:{name}"


def events(owner: str, name: str | None = None) -> str:
    """Stream of change events of a table, or of a type of messages (``@type``); without a name the hash of them all."""
    return f"{PREFIX}:dataflow:events:{owner}" + (f":{name}" if name else "")


def event_cursors(owner: str, name: str) -> str:
    """Hash of those who read a stream of change events without a group, and how far each is; nothing beyond is
    trimmed.
    """
    return f"{PREFIX}:dataflow:event-cursors:{owner}:{name}"


def events_dead(owner: str) -> str:
    """Stream of the events that a reader could not do."""
    return f"{PREFIX}:dataflow:events-dead:{owner}"


def triggers(owner: str) -> str:
    """Set of the names of an instance's triggers."""
    return f"{PREFIX}:dataflow:triggers:{owner}"


def trigger(owner: str, name: str) -> str:
    """Hash of a trigger."""
    return f"{PREFIX}:dataflow:trigger:{owner}:{name}"


def trigger_changes(owner: str) -> str:
    """Stream that grows when a trigger of an instance is added, changed or removed."""
    return f"{PREFIX}:dataflow:trigger-changes:{owner}"


def events_trimmed(owner: str) -> str:
    """Hash of the last event of each stream that was removed because of age or number."""
    return f"{PREFIX}:dataflow:events-trimmed:{owner}"


def event_runs(owner: str, reader: str) -> str:
    """Hash of the last run that read under a name, and from where to where."""
    return f"{PREFIX}:dataflow:event-runs:{owner}:{reader}"


def capture(owner: str) -> str:
    """Hash of how far the capture of an instance's changes is."""
    return f"{PREFIX}:dataflow:capture:{owner}"


def capture_lock(owner: str) -> str:
    """Token of the process that captures an instance's changes."""
    return f"{PREFIX}:dataflow:capture-lock:{owner}"


def capture_times(owner: str) -> str:
    """Sorted set of positions in the streams of an instance, by when they were published."""
    return f"{PREFIX}:dataflow:capture-times:{owner}"


def schedules(owner: str) -> str:
    """Sorted set of an instance's schedules."""
    return f"{PREFIX}:dataflow:schedules:{owner}"


def schedule(owner: str, name: str) -> str:
    """Hash of a schedule."""
    return f"{PREFIX}:dataflow:schedule:{owner}:{name}"


def ticks(owner: str, name: str) -> str:
    """List of what became of a schedule's last ticks."""
    return f"{PREFIX}:dataflow:schedule:{owner}:{name}:ticks"


def leader(owner: str) -> str:
    """Who leads the schedulers of an instance."""
    return f"{PREFIX}:dataflow:scheduler:{owner}"
