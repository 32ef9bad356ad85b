-- Write how far running jobs are, unless they are no longer this execution's.
-- Touches, for each: rq:wip:QUEUE, rq:job:ID, rq:dataflow:progress:ID (wakes who follows the job). ARGV, for each: job id, execution id, queue, progress (JSON)
for i = 1, #ARGV, 4 do
  if call('ZSCORE', P .. ':wip:' .. ARGV[i + 2], ARGV[i] .. ':' .. ARGV[i + 1]) then
    call('HSET', job_key(ARGV[i]), 'x_progress', ARGV[i + 3])
    local stream = P .. ':dataflow:progress:' .. ARGV[i]
    call('XADD', stream, 'MAXLEN', '1', '*', 'n', '')
    call('EXPIRE', stream, 60)
  end
end
