-- Cancelling a job that has not ended.
-- Touches rq:job:ID, the queue or registry that it is in, its executions, rq:canceled:QUEUE, its parents' dependents, the
-- line of its ordering key, rq:dataflow:spent:TIME, the schedule that it is of.
-- `kept` is how many seconds a canceled job is kept where it does not say itself.
-- Returns its status before, and the name of the worker that runs it or ''; nothing where there is no such job.
local function cancel_job(id, at, kept)
  local job = job_key(id)
  local f = call('HMGET', job, 'status', 'origin', 'worker_name', 'failure_ttl', 'x_ordering_key', 'x_sig',
    'x_schedule')
  local status, queue, worker = f[1], f[2], f[3] or ''
  if not status then return end
  if status == 'finished' or status == 'failed' or status == 'stopped' or status == 'canceled' then
    return status, ''
  end

  if status == 'queued' then
    call('LREM', P .. ':queue:' .. queue, 0, id)
  elseif status == 'started' then
    for _, exec in ipairs(call('ZRANGE', P .. ':executions:' .. id, 0, -1)) do
      drop_execution(id, exec, queue, worker)
      -- The next of its ordering key waits until the run has stopped (order.lua).
      if f[5] then call('HSET', job, 'x_stopping', exec) end
    end
  else
    for _, registry in ipairs({ 'scheduled', 'deferred', 'ready' }) do
      call('ZREM', P .. ':' .. registry .. ':' .. queue, id)
    end
    for _, parent in ipairs(call('SMEMBERS', P .. ':job::' .. id .. ':dependencies')) do
      call('SREM', job_key(parent) .. ':dependents', id)
    end
  end
  call('HSET', job, 'status', 'canceled', 'ended_at', at)
  spend(f[6])
  call('ZADD', P .. ':canceled:' .. queue, now(), id)
  if f[5] and status ~= 'started' then leave_line(f[5], id, at) end
  local ttl = tonumber(f[4] or kept)
  -- A canceled job stays long enough for those who wait for it to learn of it.
  expire_job(id, ttl == 0 and 60 or ttl, true)
  if f[7] then note_end(f[7], id, 'canceled') end
  return status, status == 'started' and worker or ''
end
