-- Keep what a consumer of groups has in hand, so that nobody takes it over.
-- Touches, for each entry, rq:dataflow:events:OWNER:NAME.
-- ARGV: owner, group, consumer, milliseconds that each counts as idle from now on; for each entry: stream, id
-- Returns how many are still the consumer's; those of others are left alone.

local held = 0
for i = 5, #ARGV, 2 do
  local key = P .. ':dataflow:events:' .. ARGV[1] .. ':' .. ARGV[i]
  if call('XPENDING', key, ARGV[2], ARGV[i + 1], ARGV[i + 1], 1, ARGV[3])[1] then
    call('XCLAIM', key, ARGV[2], ARGV[3], 0, ARGV[i + 1], 'IDLE', ARGV[4], 'JUSTID')
    held = held + 1
  end
end
return held
