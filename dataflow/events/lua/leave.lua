-- Forget a consumer of a group, but where something is pending for it: that would be lost with it.
-- Touches, for each stream, rq:dataflow:events:OWNER:NAME.
-- ARGV: owner, group, consumer, streams…

for i = 4, #ARGV do
  local key = P .. ':dataflow:events:' .. ARGV[1] .. ':' .. ARGV[i]
  if #call('XPENDING', key, ARGV[2], '-', '+', 1, ARGV[3]) == 0 then
    call('XGROUP', 'DELCONSUMER', key, ARGV[2], ARGV[3])
  end
end
return 1
