-- Write a trigger, if it is still as the caller read it.
-- Touches rq:dataflow:triggers:OWNER, rq:dataflow:trigger:OWNER:NAME, rq:dataflow:trigger-changes:OWNER and, for each
-- stream, rq:dataflow:events:OWNER:STREAM, rq:dataflow:events-trimmed:OWNER, rq:dataflow:event-cursors:OWNER:STREAM.
-- ARGV: owner, name, revision as read ('' where there was no such trigger), count of streams, for each: its name, the
--   trigger's place as read, its place from now on ('' after what is published now); count of streams that it leaves,
--   streams…; fields and values…
-- Returns 1, or 0 where it has changed.

local owner, name, revision = unpack(ARGV, 1, 3)
local trigger, reader = P .. ':dataflow:trigger:' .. owner .. ':' .. name, 'trigger:' .. name
if (call('HGET', trigger, 'revision') or '') ~= revision then return 0 end

local function cursors(stream)
  return P .. ':dataflow:event-cursors:' .. owner .. ':' .. stream
end

local i = 5
for _ = 1, tonumber(ARGV[4]) do
  local stream, before, place = unpack(ARGV, i, i + 2)
  if place == '' then
    local last = call('XREVRANGE', P .. ':dataflow:events:' .. owner .. ':' .. stream, '+', '-', 'COUNT', 1)[1]
    local removed = call('HGET', P .. ':dataflow:events-trimmed:' .. owner, stream)
    call('HSET', cursors(stream), reader, last and last[1] or removed or '0-0')
  elseif place ~= before then
    call('HSET', cursors(stream), reader, place)
  end
  i = i + 3
end
local left = tonumber(ARGV[i])
for j = i + 1, i + left do call('HDEL', cursors(ARGV[j]), reader) end
call('HSETNX', trigger, 'created', as_text(now()))
call('HSET', trigger, 'changed', as_text(now()), unpack(ARGV, i + left + 1))
call('SADD', P .. ':dataflow:triggers:' .. owner, name)
call('XADD', P .. ':dataflow:trigger-changes:' .. owner, 'MAXLEN', 1, '*', 'trigger', name)
return 1
