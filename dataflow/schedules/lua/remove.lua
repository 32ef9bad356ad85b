-- Remove a schedule, if it is still as the caller read it.
-- Touches rq:dataflow:schedules:OWNER, rq:dataflow:schedule:OWNER:NAME, rq:dataflow:schedule:OWNER:NAME:ticks.
-- ARGV: owner, name, revision as read, seconds that its history is kept
-- Returns 1, or 0 where it has changed.

local owner, name, revision, kept = unpack(ARGV)
local schedule = schedule_key(owner, name)
if (call('HGET', schedule, 'revision') or '') ~= revision then return 0 end
call('DEL', schedule)
call('ZREM', schedules_key(owner), name)
call('EXPIRE', schedule .. ':ticks', kept)
return 1
