"""The producer's side of jobs: queues, job handles, and the broker that both live in."""

from dataflow.jobs.broker import Broker
from dataflow.jobs.job import Job, NodeProgress, Progress
from dataflow.jobs.queue import JobQueue
from dataflow.jobs.record import JobFailure, JobStatus
from dataflow.jobs.requests import EnqueueRequest

__all__ = ["Broker", "EnqueueRequest", "Job", "JobFailure", "JobQueue", "JobStatus", "NodeProgress", "Progress"]
