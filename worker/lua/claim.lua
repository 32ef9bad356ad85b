-- Take waiting jobs: straight from the queues into execution, so that a crash at any moment leaves them findable.
-- A job whose ordering key is another's turn was queued by other tools than ours; it waits on.
-- Touches rq:suspended; rq:queue:QUEUE and, for each job: rq:job:ID, rq:execution:ID:EXEC, rq:executions:ID,
-- rq:wip:QUEUE, rq:dataflow:spent:TIME, rq:dataflow:order:KEY; rq:worker:NAME, rq:worker:NAME:executions.
-- ARGV: worker, jobs wanted (where queues have limits: N,… with the most of each queue), seconds until an execution
--   counts as abandoned, text of now, token, count of queues, queues… (in order of priority), fields… (the first two
--   are data and x_ordering_key)
--   instead of x_sig, the signature of a job that has finished before, 'spent' is returned
-- Returns {1 where workers are suspended, {queue, job id, execution id, values of the fields}…}.

local worker, ttl, at, token = ARGV[1], tonumber(ARGV[3]), ARGV[4], ARGV[5]
local most = {}
for number in string.gmatch(ARGV[2], '[^,]+') do most[#most + 1] = tonumber(number) end
local wanted = most[1]
local queues = tonumber(ARGV[6])
if call('EXISTS', P .. ':suspended') == 1 then return { 1 } end

local fields = { unpack(ARGV, 7 + queues) }
local signature_at
for i, field in ipairs(fields) do
  if field == 'x_sig' then signature_at = i end
end
local mine = P .. ':worker:' .. worker .. ':executions'
-- Texts, since each call would make one of a number.
local t = now()
local started, abandoned, forgotten = as_text(t), as_text(t + ttl), as_text(t + ttl + 60)
local kept, longer = ARGV[3], string.format('%d', ttl + 60)
local found = { 0 }
local executions = 0

local function is_spent(signature)
  local key, nonce = spent_place(signature)
  return key and call('SISMEMBER', key, nonce) == 1
end

-- Executions of jobs that left their queue, one for each. They are registered before anything is known of the jobs: many
-- at once cost little more than one.
local function register(queue, ids)
  local execs, members, dated = {}, {}, {}
  for i, id in ipairs(ids) do
    executions = executions + 1
    execs[i] = string.format('%s%04x', token, executions)
    members[i] = id .. ':' .. execs[i]
    dated[2 * i - 1], dated[2 * i] = abandoned, members[i]
  end
  call('ZADD', P .. ':wip:' .. queue, unpack(dated))
  call('SADD', mine, unpack(members))
  return execs, members
end

local function unregister(queue, member)
  call('ZREM', P .. ':wip:' .. queue, member)
  call('SREM', mine, member)
end

local function start(id, exec, member)
  local execution, executions_of = P .. ':execution:' .. member, P .. ':executions:' .. id
  call('HSET', execution, 'id', exec, 'job_id', id, 'created_at', started, 'last_heartbeat', started, 'worker_name', worker)
  call('EXPIRE', execution, kept)
  call('ZADD', executions_of, forgotten, exec)
  call('EXPIRE', executions_of, longer)
  local job = job_key(id)
  call('HSET', job, 'status', 'started', 'started_at', at, 'last_heartbeat', at, 'worker_name', worker, 'x_claimed', '1')
  call('PERSIST', job)
end

for q = 7, 6 + queues do
  local queue = ARGV[q]
  local left = math.min(wanted, most[q - 5] or wanted)
  while left > 0 do
    local ids = call('LPOP', P .. ':queue:' .. queue, left)
    if not ids or #ids == 0 then break end
    local execs, members = register(queue, ids)
    for i, id in ipairs(ids) do
      -- A key of another type is an error, which would lose the other jobs: they have left their list already.
      local values = redis.pcall('HMGET', job_key(id), unpack(fields))
      -- A hash that is gone was deleted or has expired (RQ's ttl): there is nothing left to run.
      if values[2] and not has_turn(values[2], id) then
        unregister(queue, members[i])
        defer(id, queue)
      elseif not values[1] then
        unregister(queue, members[i])
      else
        local signature = signature_at and values[signature_at]
        if signature and is_spent(signature) then values[signature_at] = 'spent' end
        wanted, left = wanted - 1, left - 1
        start(id, execs[i], members[i])
        found[#found + 1] = { queue, id, execs[i], values }
      end
    end
  end
end
if #found > 1 then
  call('EXPIRE', mine, longer)
  call('HSET', P .. ':worker:' .. worker, 'state', 'busy')
end
return found
