-- Record how executions ended. Each is fenced: where the execution is no longer its job's (the worker lost its lease,
-- the job was canceled, or this very call was sent before), nothing is changed, so a call may be sent again.
-- Touches rq:worker:NAME and, for each: rq:job:ID and its executions, rq:wip:QUEUE, rq:results:ID, its dependents; then
-- rq:finished|failed|scheduled:QUEUE or rq:queue:QUEUE; the line of its ordering key; rq:dataflow:spent:TIME; its schedule.
-- ARGV: worker, text of now; for each: kind, job id, execution id, queue, started (text), started (unix s), ended (unix s),
--   ttl (s), value (base64), error (JSON), progress (JSON), delay (s; of a done job until it repeats, or -1), front ('1' or ''),
--   untouched ('1' where a job that waits has never begun, or '')
--   kinds: done, failed, stopped, retry, back (given back unfinished), defer (waits for a dependency), outage (the same,
--   and is counted: the dependency went away beneath it)
-- Returns for each: 1 recorded, 0 fenced off.

local STRIDE = 14
local worker, at = ARGV[1], ARGV[2]
local t = now()
local recorded = {}
local succeeded, failed, busy = 0, 0, 0

local function stamps(exec, started, ended)
  return { 'worker_name', worker, 'execution_id', exec, 'execution_started_at', started, 'execution_ended_at', ended }
end

-- RQ's Repeat: the job runs again, as if it were new; of several intervals each serves once, and the last for ever.
local function repeat_later(id, queue, delay)
  local job = job_key(id)
  local intervals = cjson.decode(call('HGET', job, 'repeat_intervals') or '[0]')
  if #intervals > 1 then
    table.remove(intervals, 1)
    call('HSET', job, 'repeat_intervals', cjson.encode(intervals))
  end
  call('HINCRBY', job, 'repeats_left', -1)
  call('HDEL', job, 'x_deliveries', 'x_progress', 'x_claimed', 'x_outages')
  if delay > 0 then
    call('HSET', job, 'status', 'scheduled')
    call('ZADD', P .. ':scheduled:' .. queue, t + delay, id)
  else
    call('HSET', job, 'status', 'queued', 'enqueued_at', at)
    push(id, queue, false)
  end
end

local function finish(kind, id, exec, queue, started_at, started, ended, ttl, value, err, progress, delay, front, untouched)
  local job = job_key(id)
  if not drop_execution(id, exec, queue, worker) then
    confirm_stop(id, exec, at)
    return 0
  end
  local f = call('HMGET', job, 'status', 'x_ordering_key', 'x_sig', 'dependency_ids', 'x_schedule')
  if f[1] ~= 'started' then return 0 end

  if kind == 'back' then
    call('HSET', job, 'status', 'queued', 'worker_name', '', 'started_at', '', 'x_progress', '')
    push(id, queue, true)
    return 1
  elseif kind == 'defer' or kind == 'outage' then
    if kind == 'outage' then call('HINCRBY', job, 'x_outages', 1) end
    if untouched == '1' then call('HDEL', job, 'x_claimed') end
    call('HSET', job, 'status', 'scheduled', 'worker_name', '', 'started_at', '', 'x_progress', '', 'x_error', err)
    call('ZADD', P .. ':scheduled:' .. queue, t + tonumber(delay), id)
    return 1
  end

  ttl = tonumber(ttl)
  busy = busy + tonumber(ended) - tonumber(started)
  if kind == 'done' then
    succeeded = succeeded + 1
    call('HSET', job, 'status', 'finished', 'started_at', started_at, 'last_heartbeat', at, 'ended_at', at,
      'x_progress', progress)
    if ttl ~= 0 then
      call('XADD', P .. ':results:' .. id, 'MAXLEN', '10', '*', 'type', '1', 'return_value', value,
        unpack(stamps(exec, started, ended)))
      call('ZADD', P .. ':finished:' .. queue, ttl < 0 and '+inf' or as_text(t + ttl), id)
    end
    local has_relatives = release_dependents(id, false, at) or f[4]
    delay = tonumber(delay)
    if delay < 0 then
      spend(f[3])
      expire_job(id, ttl, has_relatives)
    else
      repeat_later(id, queue, delay)
    end
    if f[5] then note_end(f[5], id, 'finished') end
    if f[2] then leave_line(f[2], id, at) end
    return 1
  end

  failed = failed + 1
  call('HSET', job, 'started_at', started_at, 'last_heartbeat', at, 'x_progress', progress)
  if kind == 'retry' then
    call('HINCRBY', job, 'retries_left', -1)
    delay = tonumber(delay)
    if delay > 0 then
      call('HSET', job, 'status', 'scheduled', 'ended_at', at, 'x_error', err)
      call('ZADD', P .. ':scheduled:' .. queue, t + delay, id)
    else
      call('HSET', job, 'status', 'queued', 'enqueued_at', at, 'ended_at', at, 'x_error', err)
      push(id, queue, front == '1')
    end
  else
    fail_job(id, queue, kind, ttl, at, value, err, stamps(exec, started, ended))
  end
  if f[5] and kind ~= 'retry' then note_end(f[5], id, kind) end
  if f[2] and kind ~= 'retry' then leave_line(f[2], id, at) end
  return 1
end

for i = 3, #ARGV, STRIDE do
  recorded[#recorded + 1] = finish(unpack(ARGV, i, i + STRIDE - 1))
end
local hash = P .. ':worker:' .. worker
if succeeded > 0 then call('HINCRBY', hash, 'successful_job_count', succeeded) end
if failed > 0 then call('HINCRBY', hash, 'failed_job_count', failed) end
if busy > 0 then call('HINCRBYFLOAT', hash, 'total_working_time', string.format('%.6f', busy)) end
return recorded
