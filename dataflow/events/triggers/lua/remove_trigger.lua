-- Remove a trigger, if it is still as the caller read it.
-- Touches rq:dataflow:triggers:OWNER, rq:dataflow:trigger:OWNER:NAME, rq:dataflow:trigger-changes:OWNER and, for each
-- stream, rq:dataflow:event-cursors:OWNER:STREAM.
-- ARGV: owner, name, revision as read, streams…
-- Returns 1, or 0 where it has changed.

local owner, name, revision = unpack(ARGV, 1, 3)
local trigger = P .. ':dataflow:trigger:' .. owner .. ':' .. name
if (call('HGET', trigger, 'revision') or '') ~= revision then return 0 end
for i = 4, #ARGV do call('HDEL', P .. ':dataflow:event-cursors:' .. owner .. ':' .. ARGV[i], 'trigger:' .. name) end
call('DEL', trigger)
call('SREM', P .. ':dataflow:triggers:' .. owner, name)
call('XADD', P .. ':dataflow:trigger-changes:' .. owner, 'MAXLEN', 1, '*', 'trigger', name)
return 1
