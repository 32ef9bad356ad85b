-- Move an entry of a group to the dead letters: nobody reads it again, unless somebody puts it back.
-- Touches rq:dataflow:events:OWNER:NAME and rq:dataflow:events-dead:OWNER.
-- ARGV: owner, group, stream, id, how many dead letters are kept, fields and values… of the dead letter
-- Returns 1; 0 where it was done meanwhile.

local owner, group, stream, id = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local key = P .. ':dataflow:events:' .. owner .. ':' .. stream
if call('XACK', key, group, id) == 0 then return 0 end
call('XADD', P .. ':dataflow:events-dead:' .. owner, 'MAXLEN', '~', ARGV[5], '*', unpack(ARGV, 6))
return 1
