-- Queue scheduled jobs whose time has come. A queue that RQ's own scheduler looks after is left to it.
-- Touches rq:queues and, for each queue: rq:scheduler-lock:QUEUE, rq:scheduled:QUEUE, rq:queue:QUEUE, rq:job:ID of those due.
-- ARGV: text of now, most jobs to move per queue, queues… (none: all that there are)
-- Returns {jobs moved, milliseconds until the next is due or -1}.

local at, most = ARGV[1], tonumber(ARGV[2])
local t = now()
local moved, next_due = 0, nil
local queues = { unpack(ARGV, 3) }
if #queues == 0 then
  for _, key in ipairs(call('SMEMBERS', P .. ':queues')) do queues[#queues + 1] = string.sub(key, #P + 8) end
end
for _, queue in ipairs(queues) do
  local scheduled = P .. ':scheduled:' .. queue
  if call('EXISTS', P .. ':scheduler-lock:' .. queue) == 0 then
    for _, id in ipairs(call('ZRANGEBYSCORE', scheduled, '-inf', t, 'LIMIT', 0, most)) do
      call('ZREM', scheduled, id)
      local f = call('HMGET', job_key(id), 'status', 'enqueue_at_front', 'rate_limit_key', 'x_ordering_key')
      if f[1] == 'scheduled' then
        make_ready(id, queue, f[2], f[3], at, f[4])
        moved = moved + 1
      end
    end
    local first = call('ZRANGE', scheduled, 0, 0, 'WITHSCORES')
    if first[2] then
      local due = tonumber(first[2])
      if not next_due or due < next_due then next_due = due end
    end
  end
end
return { moved, next_due and math.max(0, math.ceil((next_due - t) * 1000)) or -1 }
