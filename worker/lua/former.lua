-- End the lease of an earlier process of this worker's name, so that its jobs are recovered at once.
-- Touches rq:dataflow:leases, rq:worker:NAME. ARGV: worker
call('ZADD', P .. ':dataflow:leases', 'XX', 0, ARGV[1])
-- This process numbers its batches of counts anew.
call('HDEL', P .. ':worker:' .. ARGV[1], 'x_counted')
