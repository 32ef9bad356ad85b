-- Enqueue a job of a schedule that somebody asked for; its ticks go on as they would.
-- Touches rq:dataflow:schedule:OWNER:NAME, rq:dataflow:schedule:OWNER:NAME:ticks; what put_job touches.
-- ARGV: owner, name, text of now, unix time of the request, what put_job takes
-- Returns the job's status, or nothing where there is no such schedule.

local owner, name, at, due = unpack(ARGV, 1, 4)
local schedule = schedule_key(owner, name)
if call('EXISTS', schedule) == 0 then return false end
local id, token = ARGV[5], ARGV[6]
local is_repeated = call('HGET', job_key(id), 'x_token') == token
local status = put_job(5, at)
if not is_repeated then
  call('HSET', schedule, 'last_job', id, 'last_queued', now())
  call('HINCRBY', schedule, 'queued', 1)
  note_tick(schedule, due, 'by hand', id, 1)
end
return status
