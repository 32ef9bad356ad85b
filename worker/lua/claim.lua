-- Take waiting jobs: straight from the queues into execution, so that a crash at any moment leaves them findable.
-- Touches rq:suspended; rq:queue:QUEUE and, for each job: rq:job:ID, rq:execution:ID:EXEC, rq:executions:ID,
-- rq:wip:QUEUE; rq:worker:NAME, rq:worker:NAME:executions.
-- ARGV: worker, jobs wanted, seconds until an execution counts as abandoned, text of now, token, count of queues,
--   queues… (in order of priority), fields… (the first is data)
-- Returns {1 where workers are suspended, {queue, job id, execution id, values of the fields…}…}.

local worker, wanted, ttl, at, token = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4], ARGV[5]
local queues = tonumber(ARGV[6])
if call('EXISTS', P .. ':suspended') == 1 then return { 1 } end

local fields = { unpack(ARGV, 7 + queues) }
local mine = P .. ':worker:' .. worker .. ':executions'
local t = now()
local found = { 0 }

local function start(id, queue, values)
  local exec = string.format('%s%04x', token, #found)
  local member = id .. ':' .. exec
  local execution, executions = P .. ':execution:' .. member, P .. ':executions:' .. id
  call('HSET', execution, 'id', exec, 'job_id', id, 'created_at', t, 'last_heartbeat', t, 'worker_name', worker)
  call('EXPIRE', execution, ttl)
  call('ZADD', executions, t + ttl + 60, exec)
  call('EXPIRE', executions, ttl + 60)
  call('ZADD', P .. ':wip:' .. queue, t + ttl, member)
  call('SADD', mine, member)
  local job = job_key(id)
  call('HSET', job, 'status', 'started', 'started_at', at, 'last_heartbeat', at, 'worker_name', worker)
  call('PERSIST', job)
  found[#found + 1] = { queue, id, exec, unpack(values) }
end

for q = 7, 6 + queues do
  while wanted > 0 do
    local ids = call('LPOP', P .. ':queue:' .. ARGV[q], wanted)
    if not ids or #ids == 0 then break end
    for _, id in ipairs(ids) do
      local values = call('HMGET', job_key(id), unpack(fields))
      -- A hash that is gone was deleted or has expired (RQ's ttl): there is nothing left to run.
      if values[1] then
        wanted = wanted - 1
        start(id, ARGV[q], values)
      end
    end
  end
end
if #found > 1 then
  call('EXPIRE', mine, ttl + 60)
  call('HSET', P .. ':worker:' .. worker, 'state', 'busy')
end
return found
