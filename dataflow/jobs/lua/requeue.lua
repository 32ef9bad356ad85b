-- Queue jobs again that failed, were stopped or canceled.
-- Touches, for each: rq:job:ID and the keys that expire with it, rq:failed:QUEUE or rq:canceled:QUEUE, then what
-- make_ready touches.
-- ARGV: text of now, job ids…
-- Returns for each: its status before; '' where there is no such job.

local REGISTRY = { failed = 'failed', stopped = 'failed', canceled = 'canceled' }

local at = ARGV[1]
local before = {}
for i = 2, #ARGV do
  local id = ARGV[i]
  local job = job_key(id)
  local f = call('HMGET', job, 'status', 'origin', 'data', 'rate_limit_key', 'x_ordering_key')
  local status, queue = f[1], f[2]
  before[#before + 1] = f[3] and status or ''
  if f[3] and REGISTRY[status] then
    call('ZREM', P .. ':' .. REGISTRY[status] .. ':' .. queue, id)
    call('HSET', job, 'started_at', '', 'ended_at', '', 'worker_name', '',
      'x_error', '', 'x_progress', '', 'x_deliveries', 0)
    call('HDEL', job, 'x_outages')
    expire_job(id, -1, true)
    make_ready(id, queue, '', f[4], at, f[5])
  end
end
return before
