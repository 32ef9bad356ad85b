-- Prove that a worker lives, and keep what it runs from counting as abandoned. Registers it where it is unknown, so a
-- server that lost its data knows it again.
-- Touches rq:workers, rq:workers:QUEUE, rq:worker:NAME, rq:worker:NAME:executions, rq:dataflow:leases, rq:dataflow:metrics and, for each
-- execution: rq:wip:QUEUE, rq:execution:ID:EXEC, rq:executions:ID, rq:job:ID.
-- ARGV: worker, text of now, seconds of its lease, seconds its hash is kept, seconds until an execution counts as abandoned,
--   count of queues, queues…, count of fields and values, fields and values…, number of the batch of counts, counts that
--   grew, field and growth of each…; for each execution: job id, id, queue
-- Returns job:execution of those that are no longer this worker's.

local worker, at = ARGV[1], ARGV[2]
local lease, kept, ttl = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local queues = tonumber(ARGV[6])
local fields = tonumber(ARGV[7 + queues])
local first_field = 8 + queues
local hash = P .. ':worker:' .. worker
local t = now()

-- A server without memory refuses a script's first write, if that adds something, and none after a first that does not:
-- who can run and finish jobs must not look dead because its sign of life does not fit.
call('SREM', P .. ':workers', '')
call('ZADD', P .. ':dataflow:leases', t + lease, worker)
call('SADD', P .. ':workers', hash)
for q = 7, 6 + queues do call('SADD', P .. ':workers:' .. ARGV[q], hash) end
call('HSET', hash, 'last_heartbeat', at, unpack(ARGV, first_field, first_field + fields - 1))
call('EXPIRE', hash, kept)

-- A batch whose reply was lost comes again under the same number, and counts once.
local batch = first_field + fields
local first_execution = batch + 2 + 2 * tonumber(ARGV[batch + 1] or 0)
if first_execution > batch + 2 and call('HGET', hash, 'x_counted') ~= ARGV[batch] then
  local metrics = P .. ':dataflow:metrics'
  for i = batch + 2, first_execution - 1, 2 do call('HINCRBY', metrics, ARGV[i], ARGV[i + 1]) end
  call('EXPIRE', metrics, 604800)
  call('HSET', hash, 'x_counted', ARGV[batch])
end

local lost = {}
for i = first_execution, #ARGV, 3 do
  local id, exec, queue = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local member = id .. ':' .. exec
  local wip = P .. ':wip:' .. queue
  if call('ZSCORE', wip, member) then
    local execution, executions = P .. ':execution:' .. member, P .. ':executions:' .. id
    call('ZADD', wip, t + ttl, member)
    call('HSET', execution, 'last_heartbeat', t)
    call('EXPIRE', execution, ttl)
    call('ZADD', executions, 'XX', t + ttl + 60, exec)
    call('EXPIRE', executions, ttl + 60)
    call('HSET', job_key(id), 'last_heartbeat', at)
  else
    lost[#lost + 1] = member
  end
end
call('EXPIRE', hash .. ':executions', ttl + 60)
return lost
