-- Write a schedule, if it is still as the caller read it: neither changed by somebody else nor ticked since.
-- Touches rq:dataflow:schedules:OWNER, rq:dataflow:schedule:OWNER:NAME, rq:dataflow:schedule:OWNER:NAME:ticks.
-- ARGV: owner, name, revision and next due time as read ('' where there was no such schedule), unix time of the next start
--   or +inf, fields and values…
-- Returns 1, or 0 where it has changed.

local owner, name, revision, due, starts = unpack(ARGV, 1, 5)
local schedule = schedule_key(owner, name)
local f = call('HMGET', schedule, 'revision', 'next_due')
if (f[1] or '') ~= revision or (f[2] or '') ~= due then return 0 end
call('HSET', schedule, unpack(ARGV, 6))
call('ZADD', schedules_key(owner), starts, name)
call('PERSIST', schedule .. ':ticks')
return 1
