-- What the scripts share. KEYS[1] is the prefix of all keys; dataflow/jobs/keys.py draws them.
-- Times are those of the server, so that clocks of workers do not matter; texts of times come from the caller.

local P = KEYS[1]
local call = redis.call
local has_turn -- of order.lua, which follows

local function now()
  local t = call('TIME')
  return tonumber(t[1]) + tonumber(t[2]) / 1000000
end

-- A time as Redis keeps scores of such times.
local function as_text(seconds)
  return string.format('%.6f', seconds)
end

local function job_key(id)
  return P .. ':job:' .. id
end

-- Queue a job. Touches rq:queues, rq:queue:QUEUE.
local function push(id, queue, front)
  local list = P .. ':queue:' .. queue
  call('SADD', P .. ':queues', list)
  call(front and 'LPUSH' or 'RPUSH', list, id)
end

-- Let a job wait for its turn. Touches rq:job:ID, rq:deferred:QUEUE.
local function defer(id, queue)
  call('HSET', job_key(id), 'status', 'deferred')
  call('ZADD', P .. ':deferred:' .. queue, now(), id)
end

-- Queue a job whose time or parents have come; one with a rate limit is left to RQ's own maintenance, which knows limits.
-- One whose ordering key is another job's turn waits on.
-- Touches rq:job:ID, rq:queue:QUEUE or rq:ready:QUEUE or rq:deferred:QUEUE.
local function make_ready(id, queue, front, rate_limit, at, key)
  if key and not has_turn(key, id) then
    defer(id, queue)
  elseif rate_limit and rate_limit ~= '' then
    call('HSET', job_key(id), 'status', 'ready_to_enqueue')
    call('ZADD', P .. ':ready:' .. queue, now(), id)
  else
    call('HSET', job_key(id), 'status', 'queued', 'enqueued_at', at)
    push(id, queue, front == '1')
  end
end

-- Forget an execution. Returns whether it was its job's until now.
-- Touches rq:execution:ID:EXEC, rq:executions:ID, rq:wip:QUEUE, rq:worker:NAME:executions.
local function drop_execution(id, exec, queue, worker)
  local member = id .. ':' .. exec
  local live = call('ZREM', P .. ':wip:' .. queue, member) == 1
  call('DEL', P .. ':execution:' .. member)
  call('ZREM', P .. ':executions:' .. id, exec)
  call('SREM', P .. ':worker:' .. worker .. ':executions', member)
  return live
end

-- Let keys of a job expire with it: -1 keeps them, 0 deletes them. Relatives are jobs that wait for it, or that it
-- waited for: most jobs have none.
local function expire_job(id, ttl, has_relatives)
  local job = job_key(id)
  local names = { job, P .. ':results:' .. id }
  if has_relatives then
    names[3], names[4] = job .. ':dependents', P .. ':job::' .. id .. ':dependencies'
  end
  if ttl == 0 then
    call('DEL', unpack(names))
  elseif ttl > 0 then
    for _, name in ipairs(names) do call('EXPIRE', name, ttl) end
  else
    for _, name in ipairs(names) do call('PERSIST', name) end
  end
end

-- Whether a parent in that status lets a job run. A parent that is gone does, as in RQ.
local function is_met(status, allow_failures)
  return not status or status == 'finished' or (status == 'failed' and allow_failures)
end

-- Whether all that a job waits for lets it run; one parent may be left out.
local function parents_met(id, allow_failures, except)
  for _, parent in ipairs(call('SMEMBERS', P .. ':job::' .. id .. ':dependencies')) do
    if parent ~= except and not is_met(call('HGET', job_key(parent), 'status'), allow_failures) then return false end
  end
  return true
end

-- Queue what waits for a job that finished (or failed) and for nothing else. Returns whether there was anything.
-- Touches rq:job:ID:dependents and, for each dependent, rq:job:ID, rq:job::ID:dependencies, rq:deferred:QUEUE, its queue.
local function release_dependents(id, failed, at)
  local dependents = job_key(id) .. ':dependents'
  local children = call('SMEMBERS', dependents)
  for _, child in ipairs(children) do
    local f = call('HMGET', job_key(child), 'status', 'origin', 'allow_dependency_failures', 'enqueue_at_front',
      'rate_limit_key', 'x_ordering_key')
    local allow = f[3] == '1'
    if f[1] == 'deferred' and (allow or not failed) and parents_met(child, allow, id) then
      call('SREM', dependents, child)
      call('ZREM', P .. ':deferred:' .. f[2], child)
      make_ready(child, f[2], f[4], f[5], at, f[6])
    end
  end
  return #children > 0
end

-- The set that remembers a signature, what of it is kept there, and when it ends (dataflow/jobs/signatures.py draws it).
local function spent_place(signature)
  local ends, nonce = string.match(signature, '^%d+%.[%w_-]+%.(%d+)%.%d+%.(%x+)%.%x+$')
  if ends and #ends < 12 then return P .. ':dataflow:spent:' .. string.sub(ends, 1, -2), nonce, tonumber(ends) end
end

-- Remember that the job of a signature must not run again. An hour longer than it holds: clocks differ.
-- Touches rq:dataflow:spent:TIME.
local function spend(signature)
  local key, nonce, ends = spent_place(signature or '')
  if key then
    call('SADD', key, nonce)
    call('EXPIREAT', key, ends + 3600)
  end
end

-- Note at its schedule how a job ended for good. Touches rq:dataflow:schedule:OWNER:NAME.
local function note_end(schedule, id, how)
  local key = P .. ':dataflow:schedule:' .. schedule
  if call('EXISTS', key) == 1 then
    call('HSET', key, 'last_outcome', how, 'last_ended', now(), 'last_ended_job', id)
    call('HINCRBY', key, how, 1)
  end
end

-- Record a failure that is final. Touches the job's keys, rq:failed:QUEUE, rq:results:ID.
local function fail_job(id, queue, status, ttl, at, exc, error_json, stamps)
  local job = job_key(id)
  call('HSET', job, 'status', status, 'ended_at', at, 'x_error', error_json)
  if ttl ~= 0 then
    call('ZADD', P .. ':failed:' .. queue, ttl < 0 and ttl or now() + ttl, id)
    call('XADD', P .. ':results:' .. id, 'MAXLEN', '10', '*', 'type', '2', 'exc_string', exc, unpack(stamps))
  end
  if status == 'failed' then release_dependents(id, true, at) end
  expire_job(id, ttl, true)
end
