-- Cancel a job that has not ended (cancel_job.lua).
-- ARGV: job id, text of now, seconds that a canceled job is kept (where it does not say itself).
-- Returns {its status before, name of the worker that runs it or ''}, or nothing where there is no such job.

local status, worker = cancel_job(ARGV[1], ARGV[2], ARGV[3])
return status and { status, worker } or false
