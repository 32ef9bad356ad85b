-- Note that a job which was delivered before really runs. Touches rq:execution:ID:EXEC. ARGV: job id, execution id
local execution = P .. ':execution:' .. ARGV[1] .. ':' .. ARGV[2]
if call('EXISTS', execution) == 1 then call('HSET', execution, 'x_begun', '1') end
