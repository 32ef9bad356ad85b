-- One step of a circuit breaker that processes share. Its key is there while it is open, and holds the time (unix s)
-- from which one of them may probe.
-- Touches rq:dataflow:breaker:NAME. ARGV: open, probe, close or look; name; seconds; seconds the key is kept after that
-- Returns milliseconds until somebody may probe (of a probe: 0, the caller may), or -1 where it is not open.

local what, seconds, kept = ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[4])
local key = P .. ':dataflow:breaker:' .. ARGV[2]
local t = now()

local function nobody_before(moment)
  call('SET', key, string.format('%.3f', moment), 'PX', math.ceil((moment - t + kept) * 1000))
end

if what == 'close' then
  call('DEL', key)
  return -1
elseif what == 'open' then
  nobody_before(t + seconds)
  return math.ceil(seconds * 1000)
end
local moment = call('GET', key)
if not moment then return -1 end
local wait = math.max(0, math.ceil((tonumber(moment) - t) * 1000))
if what == 'probe' and wait == 0 then nobody_before(t + seconds) end
return wait
