-- Let ordering keys go on whose first job has ended or is gone without a word to us: an RQ worker ran it, one of RQ's
-- tools canceled or deleted it, its ttl was over, or it was canceled and its worker died.
-- Touches rq:dataflow:orders and, for each key looked at, rq:dataflow:order:KEY, its next job and that one's queue.
-- ARGV: text of now, seconds that a look at a key serves all workers, most keys to look at
-- Returns {keys looked at, jobs passed over}.
local at, serves, most = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local orders = P .. ':dataflow:orders'
local t = now()
local passed = 0
local keys = call('ZRANGEBYSCORE', orders, '-inf', t - serves, 'LIMIT', 0, most)
for _, key in ipairs(keys) do
  call('ZADD', orders, t, key)
  passed = passed + advance(key, at)
end
return { #keys, passed }
