-- Move a reader that reads by runs: only if no other run moved it meanwhile.
-- Touches rq:dataflow:event-runs:OWNER:READER and, for each stream, rq:dataflow:event-cursors:OWNER:NAME.
-- ARGV: owner, reader, run and end as they were read (empty: none), run, the id after which it begins, the last id that
--   it read, streams…
-- Returns 1; 0 where another run moved it.

local owner, reader = ARGV[1], ARGV[2]
local runs = P .. ':dataflow:event-runs:' .. owner .. ':' .. reader
local stands = call('HMGET', runs, 'run', 'until')
if (stands[1] or '') ~= ARGV[3] or (stands[2] or '') ~= ARGV[4] then return 0 end
call('HSET', runs, 'run', ARGV[5], 'after', ARGV[6], 'until', ARGV[7])
-- What this run read is kept: it may be run again.
for i = 8, #ARGV do call('HSET', P .. ':dataflow:event-cursors:' .. owner .. ':' .. ARGV[i], 'reader:' .. reader, ARGV[6]) end
return 1
