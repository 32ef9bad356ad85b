-- Writing a job, and queueing, scheduling or deferring it.

local REGISTRY = { finished = 'finished', failed = 'failed', stopped = 'failed', canceled = 'canceled',
  deferred = 'deferred', scheduled = 'scheduled', ready_to_enqueue = 'ready' }

-- Forget an older job of the same id.
local function forget(id, status, queue, key, signature, at)
  spend(signature)
  if status == 'queued' then
    call('LREM', P .. ':queue:' .. queue, 0, id)
  elseif REGISTRY[status] then
    call('ZREM', P .. ':' .. REGISTRY[status] .. ':' .. queue, id)
  end
  call('DEL', job_key(id), P .. ':job::' .. id .. ':dependencies')
  if key then leave_line(key, id, at) end
end

-- Put the job that the arguments from `i` on describe.
-- Touches rq:queues, rq:job:ID, rq:queue:QUEUE or rq:scheduled:QUEUE or rq:deferred:QUEUE, rq:job::ID:dependencies,
-- rq:job:PARENT:dependents; the registry of an older job of the same id, and rq:dataflow:spent:TIME where that one was
-- signed; the line of its ordering key.
-- ARGV: id, token, queue, front ('1' or ''), unique ('1' or ''), delay (s or ''), at (unix s or ''), allow failures ('1' or
--   ''), ordering key or '', count of parents, parents…, count of fields and values, fields and values…
-- Returns its status, or 'duplicate'; and where the arguments go on.
-- The token is one call's: a call whose reply was lost may be sent again, and changes nothing the second time.
local function put_job(i, at)
  local id, token, queue, front, unique, delay, due, allow, key = unpack(ARGV, i, i + 8)
  local first_parent = i + 10
  local parents = tonumber(ARGV[i + 9])
  local first_field = first_parent + parents + 1
  local fields = tonumber(ARGV[first_field - 1])
  local following = first_field + fields

  local job = job_key(id)
  local old = call('HMGET', job, 'status', 'origin', 'x_token', 'x_ordering_key', 'x_sig')
  if old[3] == token then return old[1], following end
  if old[1] and unique == '1' then return 'duplicate', following end
  if old[1] then forget(id, old[1], old[2] or queue, old[4], old[5], at) end
  local status, waits_for_parents = 'queued', false
  if delay ~= '' or due ~= '' then status = 'scheduled' end
  for p = first_parent, first_parent + parents - 1 do
    if not is_met(call('HGET', job_key(ARGV[p]), 'status'), allow == '1') then status, waits_for_parents = 'deferred', true end
  end
  if key ~= '' and not join_line(key, id) and status == 'queued' then status = 'deferred' end
  call('HSET', job, 'status', status, 'x_token', token, unpack(ARGV, first_field, first_field + fields - 1))
  if status == 'queued' then
    call('HSET', job, 'enqueued_at', at)
    push(id, queue, front == '1')
  elseif status == 'scheduled' then
    call('SADD', P .. ':queues', P .. ':queue:' .. queue)
    call('ZADD', P .. ':scheduled:' .. queue, due ~= '' and tonumber(due) or now() + tonumber(delay), id)
  else
    call('SADD', P .. ':queues', P .. ':queue:' .. queue)
    call('ZADD', P .. ':deferred:' .. queue, now(), id)
    for p = first_parent, waits_for_parents and first_parent + parents - 1 or 0 do
      call('SADD', job_key(ARGV[p]) .. ':dependents', id)
      call('SADD', P .. ':job::' .. id .. ':dependencies', ARGV[p])
    end
  end
  return status, following
end
