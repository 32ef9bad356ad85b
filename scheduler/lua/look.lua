-- Which schedules are due, and when the next one is. While none is due this is one ZRANGE.
-- Touches rq:dataflow:schedules:OWNER, rq:dataflow:schedule:OWNER:NAME of those due.
-- ARGV: owner, how many at most
-- Returns {unix time of now, unix time of the first start ('' where there are no schedules), for each that is due:
--   {name, unix time of its start, revision, due time, time from which its ticks count, anchor}…}.

local owner, most = ARGV[1], tonumber(ARGV[2])
local schedules = schedules_key(owner)
local t = now()
local first = call('ZRANGE', schedules, 0, 0, 'WITHSCORES')
local found = { string.format('%.6f', t), first[2] or '' }
if first[2] and tonumber(first[2]) <= t then
  local due = call('ZRANGEBYSCORE', schedules, '-inf', t, 'WITHSCORES', 'LIMIT', 0, most)
  for i = 1, #due, 2 do
    local f = redis.pcall('HMGET', schedule_key(owner, due[i]), 'state', 'revision', 'next_due', 'since', 'anchor')
    if f[1] == 'active' and f[2] and f[3] then
      found[#found + 1] = { due[i], due[i + 1], f[2], f[3], f[4] or '', f[5] or '' }
    else
      -- Somebody else than we wrote here. It must not come up at each look.
      call('ZADD', schedules, '+inf', due[i])
    end
  end
end
return found
