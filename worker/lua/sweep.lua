-- Take out of the registries what has expired, and canceled jobs that are gone: RQ's own workers do so, and there may be none.
-- Touches, for each queue: rq:finished:QUEUE, rq:failed:QUEUE, rq:canceled:QUEUE. ARGV: most to take per registry, queues…
-- Returns how many were taken.

local most = tonumber(ARGV[1])
local t = now()
local taken = 0
for i = 2, #ARGV do
  for _, name in ipairs({ ':finished:', ':failed:' }) do
    local registry = P .. name .. ARGV[i]
    -- From 0: a failed job that is kept for ever has the score -1.
    local expired = call('ZRANGEBYSCORE', registry, 0, t, 'LIMIT', 0, most)
    if #expired > 0 then
      taken = taken + call('ZREMRANGEBYRANK', registry, call('ZRANK', registry, expired[1]),
        call('ZRANK', registry, expired[#expired]))
    end
  end
  -- Its scores say when a job was canceled, not until when it is kept; so some are looked at, others the next time.
  local canceled = P .. ':canceled:' .. ARGV[i]
  for _, id in ipairs(call('ZRANDMEMBER', canceled, math.min(most, 100))) do
    if call('EXISTS', job_key(id)) == 0 then taken = taken + call('ZREM', canceled, id) end
  end
end
return taken
