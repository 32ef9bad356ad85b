-- Return executions of one worker to the front of their queues: orphans of a claim whose reply was lost, or all that
-- a worker leaves behind.
-- Touches rq:worker:NAME:executions and, for each: rq:job:ID and its executions, rq:wip:QUEUE, rq:queue:QUEUE.
-- ARGV: worker, job:execution that it really runs…
-- Returns ids of the jobs returned.

local worker = ARGV[1]
local held = {}
for i = 2, #ARGV do held[ARGV[i]] = true end
local returned = {}
for _, member in ipairs(call('SMEMBERS', P .. ':worker:' .. worker .. ':executions')) do
  if not held[member] then
    local id, exec = string.match(member, '^(.*):([^:]*)$')
    local f = call('HMGET', job_key(id), 'status', 'origin')
    local live = f[2] and call('ZSCORE', P .. ':wip:' .. f[2], member)
    drop_execution(id, exec, f[2] or '', worker)
    if live and f[1] == 'started' then
      call('HSET', job_key(id), 'status', 'queued', 'worker_name', '', 'started_at', '')
      push(id, f[2], true)
      returned[#returned + 1] = id
    end
  end
end
return returned
