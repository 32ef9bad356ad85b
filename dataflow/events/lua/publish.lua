-- Append events to their streams and note how far capture is, as one step.
-- Touches rq:dataflow:capture-lock:OWNER, rq:dataflow:capture:OWNER, rq:dataflow:events:OWNER and, for each event,
-- rq:dataflow:events:OWNER:NAME.
-- ARGV: owner, token of the lock, count of fields and values, fields and values… of the capture hash;
--   for each event: name of its stream, id, text
-- Returns how many were appended, and the ids of those refused because their stream has them, or later ones, already.
-- An error FENCED: the lock is another process's.

local owner = ARGV[1]
if call('GET', P .. ':dataflow:capture-lock:' .. owner) ~= ARGV[2] then
  return redis.error_reply('FENCED another process captures now')
end
local capture, streams = P .. ':dataflow:capture:' .. owner, P .. ':dataflow:events:' .. owner
local fields = tonumber(ARGV[3])
local appended, refused, counts = 0, {}, {}
for i = 4 + fields, #ARGV, 3 do
  local name, id = ARGV[i], ARGV[i + 1]
  local reply = redis.pcall('XADD', streams .. ':' .. name, id, 'event', ARGV[i + 2])
  if type(reply) == 'table' and reply.err then
    -- What was appended before the error comes again, and is refused then.
    if not string.find(reply.err, 'equal or smaller', 1, true) then return reply end
    refused[#refused + 1] = id
  else
    appended = appended + 1
    counts[name] = (counts[name] or 0) + 1
  end
end
for name, count in pairs(counts) do call('HINCRBY', streams, name, count) end
if appended > 0 then call('HINCRBY', capture, 'published', appended) end
if fields > 0 then call('HSET', capture, unpack(ARGV, 4, 3 + fields)) end
return {appended, refused}
