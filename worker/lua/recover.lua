-- Return the jobs of dead workers to the front of their queues. Dead is who let its lease run out; workers of RQ itself
-- have none and are left alone. A job that too many workers died with fails: it may be what kills them. The first death
-- counts against every job of the worker, a further one only against those that it had really begun (worker/suspects.py).
-- Touches rq:dataflow:leases and, for each dead worker: rq:worker:NAME, rq:worker:NAME:executions, rq:workers,
-- rq:workers:QUEUE; for each of its jobs: rq:job:ID and its executions, rq:wip:QUEUE, then rq:queue:QUEUE or rq:failed:QUEUE,
-- rq:results:ID and its dependents, the line of its ordering key, its schedule.
-- ARGV: text of now, deliveries allowed, seconds a failed job is kept, text of the failure (base64), error (JSON)
-- Returns for each job: {dead worker, job id, 'queued' or 'failed'}; {dead worker} for one without jobs.

local at, allowed, kept, exc, err = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4], ARGV[5]
local leases = P .. ':dataflow:leases'
local t = now()
local report = {}

local function recover(worker, member)
  local id, exec = string.match(member, '^(.*):([^:]*)$')
  local job = job_key(id)
  local f = call('HMGET', job, 'status', 'origin', 'failure_ttl', 'x_ordering_key', 'x_deliveries',
    'x_schedule')
  local queue = f[2]
  local live = queue and call('ZSCORE', P .. ':wip:' .. queue, member)
  local counts = not f[5] or call('HEXISTS', P .. ':execution:' .. member, 'x_begun') == 1
  drop_execution(id, exec, queue or '', worker)
  if not live or f[1] ~= 'started' then return end
  if counts and call('HINCRBY', job, 'x_deliveries', 1) >= allowed then
    fail_job(id, queue, 'failed', tonumber(f[3] or kept), at, exc, err,
      { 'worker_name', worker, 'execution_id', exec, 'execution_ended_at', t })
    if f[6] then note_end(f[6], id, 'failed') end
    if f[4] then leave_line(f[4], id, at) end
    report[#report + 1] = { worker, id, 'failed' }
  else
    call('HSET', job, 'status', 'queued', 'worker_name', '', 'started_at', '', 'x_progress', '')
    push(id, queue, true)
    report[#report + 1] = { worker, id, 'queued' }
  end
end

for _, worker in ipairs(call('ZRANGEBYSCORE', leases, '-inf', t, 'LIMIT', 0, 10)) do
  local hash = P .. ':worker:' .. worker
  report[#report + 1] = { worker }
  for _, member in ipairs(call('SMEMBERS', hash .. ':executions')) do recover(worker, member) end
  for queue in string.gmatch(call('HGET', hash, 'queues') or '', '[^,]+') do
    call('SREM', P .. ':workers:' .. queue, hash)
  end
  call('SREM', P .. ':workers', hash)
  call('DEL', hash .. ':executions')
  if call('EXISTS', hash) == 1 then
    call('HSET', hash, 'death', at, 'state', 'dead')
    call('EXPIRE', hash, 60)
  end
  call('ZREM', leases, worker)
end
return report
