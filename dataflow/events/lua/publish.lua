-- Append events to their streams and note how far capture is, as one step.
-- Touches rq:dataflow:capture-lock:OWNER, rq:dataflow:capture:OWNER, rq:dataflow:events:OWNER and, for each event,
-- rq:dataflow:events:OWNER:NAME.
-- ARGV: owner, token of the lock, "incarnation position index" as the capture hash must have them, count of fields and
--   values, fields and values… of the capture hash; for each event: name of its stream, id, text
-- Returns how many were appended, and the ids of those refused because their stream has them, or later ones, already.
-- An error FENCED: the lock is another process's. FORGOTTEN: the hash is not as its writer left it, since a crash of the
-- server took its last second; what was in it must be read again, or it is lost.

local owner = ARGV[1]
if call('GET', P .. ':dataflow:capture-lock:' .. owner) ~= ARGV[2] then
  return redis.error_reply('FENCED another process captures now')
end
local capture, streams = P .. ':dataflow:capture:' .. owner, P .. ':dataflow:events:' .. owner
local stands = call('HMGET', capture, 'incarnation', 'position', 'index')
if (stands[1] or '') .. ' ' .. (stands[2] or '') .. ' ' .. (stands[3] or '') ~= ARGV[3] then
  return redis.error_reply('FORGOTTEN capture stands elsewhere')
end
local fields = tonumber(ARGV[4])
local appended, refused, counts = 0, {}, {}
for i = 5 + fields, #ARGV, 3 do
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
if fields > 0 then call('HSET', capture, unpack(ARGV, 5, 4 + fields)) end
return {appended, refused}
