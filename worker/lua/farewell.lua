-- A worker ends in good order, with nothing left running.
-- Touches rq:worker:NAME, rq:worker:NAME:executions, rq:workers, rq:workers:QUEUE, rq:dataflow:leases.
-- ARGV: worker, text of now, queues…
local worker, at = ARGV[1], ARGV[2]
local hash = P .. ':worker:' .. worker
call('ZREM', P .. ':dataflow:leases', worker)
call('SREM', P .. ':workers', hash)
for i = 3, #ARGV do call('SREM', P .. ':workers:' .. ARGV[i], hash) end
call('DEL', hash .. ':executions')
if call('EXISTS', hash) == 1 then
  call('HSET', hash, 'death', at, 'state', 'dead')
  call('EXPIRE', hash, 60)
end
