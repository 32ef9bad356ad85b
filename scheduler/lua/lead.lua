-- Take, keep or leave the lead. Several schedulers may run; the one that leads does the work. A tick is safe without that.
-- Touches rq:dataflow:scheduler:OWNER. ARGV: owner, scheduler, milliseconds that the lead lasts, take, keep or leave
-- Returns {1 where the scheduler leads, milliseconds until somebody else may}.

local owner, scheduler, lasts, what = unpack(ARGV)
local lock = P .. ':dataflow:scheduler:' .. owner
local leader = call('GET', lock)
if what == 'leave' then
  if leader == scheduler then call('DEL', lock) end
  return { 0, 0 }
elseif what == 'take' or not leader or leader == scheduler then
  call('SET', lock, scheduler, 'PX', lasts)
  return { 1, tonumber(lasts) }
end
return { 0, call('PTTL', lock) }
