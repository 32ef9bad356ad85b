-- Put a dead letter of a group back: it is pending again, and free to be taken over at once.
-- Touches rq:dataflow:events-dead:OWNER and rq:dataflow:events:OWNER:NAME.
-- ARGV: owner, id of the dead letter, group, stream, id of the entry
-- Returns 1; 0 where there is no such dead letter any more; -1 where the stream has lost the entry.

local dead = P .. ':dataflow:events-dead:' .. ARGV[1]
local key = P .. ':dataflow:events:' .. ARGV[1] .. ':' .. ARGV[4]
if #call('XRANGE', dead, ARGV[2], ARGV[2]) == 0 then return 0 end
if #call('XRANGE', key, ARGV[5], ARGV[5]) == 0 then return -1 end
call('XCLAIM', key, ARGV[3], 'dataflow-retry', 0, ARGV[5], 'TIME', 0, 'RETRYCOUNT', 0, 'FORCE', 'JUSTID')
call('XDEL', dead, ARGV[2])
return 1
