-- Ordering keys: jobs of one key run one at a time, in the order in which they were enqueued.
-- rq:dataflow:order:KEY is the line of its jobs that have not ended. The first has the turn and keeps it through delays,
-- retries and crashes; it alone may wait in its queue, the others are deferred. rq:dataflow:orders has each key that has
-- a line, by when somebody last looked whether its first still exists.

local ENDED = { finished = true, failed = true, stopped = true, canceled = true }

-- Seconds that a canceled run has to stop before the next of its key goes on without its word.
local STOP_TIME = 30

local function line_of(key)
  return P .. ':dataflow:order:' .. key
end

-- Take a place at the end. Returns whether that is the first.
local function join_line(key, id)
  if call('RPUSH', line_of(key), id) > 1 then return false end
  call('ZADD', P .. ':dataflow:orders', now(), key)
  return true
end

-- Whether it is a job's turn. One without a place had ended and was queued again, by RQ's tools or to repeat: it goes
-- before those that wait, since one of them may depend on it.
function has_turn(key, id)
  local line = line_of(key)
  local first = call('LINDEX', line, 0)
  if first == id then return true end
  if first then
    if call('LPOS', line, id) then return false end
    local f = call('HMGET', job_key(first), 'status', 'x_stopping')
    if f[1] == 'started' or (f[1] == 'canceled' and f[2]) then
      call('LINSERT', line, 'AFTER', first, id)
      return false
    end
  end
  call('LPUSH', line, id)
  call('ZADD', P .. ':dataflow:orders', now(), key)
  return true
end

local function is_stopping(id, f)
  if f[1] ~= 'canceled' or not f[2] then return false end
  local since = call('ZSCORE', P .. ':canceled:' .. f[3], id)
  return since and now() - tonumber(since) < STOP_TIME
end

-- Give the turn to the next job of a key, where the first has ended or is gone. The next goes to the front of its queue:
-- it is older than most that wait there. Returns how many were passed over.
-- Touches rq:dataflow:order:KEY, rq:dataflow:orders, the next job and its queue.
local function advance(key, at)
  local line = line_of(key)
  local passed = 0
  while true do
    local id = call('LINDEX', line, 0)
    if not id then
      call('ZREM', P .. ':dataflow:orders', key)
      return passed
    end
    local f = call('HMGET', job_key(id), 'status', 'x_stopping', 'origin', 'allow_dependency_failures', 'rate_limit_key')
    if f[1] and not ENDED[f[1]] then
      if f[1] == 'deferred' and parents_met(id, f[4] == '1') then
        call('ZREM', P .. ':deferred:' .. f[3], id)
        make_ready(id, f[3], '1', f[5], at, key)
      end
      return passed
    end
    if is_stopping(id, f) then return passed end
    call('LPOP', line)
    passed = passed + 1
  end
end

-- A job of a key has ended for good.
local function leave_line(key, id, at)
  call('LREM', line_of(key), 1, id)
  advance(key, at)
end

-- A run that was canceled has stopped: the turn that it still had goes on.
local function confirm_stop(id, exec, at)
  local f = call('HMGET', job_key(id), 'x_ordering_key', 'status', 'x_stopping')
  if f[1] and f[2] == 'canceled' and f[3] == exec then leave_line(f[1], id, at) end
end
