"""The producer's side of jobs: queues, job handles, and the broker that both live in."""

from dataflow.jobs.actor import Actor
from dataflow.jobs.broker import Broker
from dataflow.jobs.job import Job
from dataflow.jobs.progress import JobEvent, NodeProgress, Progress
from dataflow.jobs.queue import JobQueue
from dataflow.jobs.record import JobFailure, JobStatus
from dataflow.jobs.requests import EnqueueRequest

__all__ = [
    "Actor",
    "Broker",
    "EnqueueRequest",
    "Job",
    "JobEvent",
    "JobFailure",
    "JobQueue",
    "JobStatus",
    "NodeProgress",
    "Progress",
]
