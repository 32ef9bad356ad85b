-- Write jobs and queue, schedule or defer each (put_job.lua).
-- ARGV: text of now; for each job: what put_job takes.
-- Returns for each: its status, or 'duplicate'.

local outcome = {}
local i = 2
while i <= #ARGV do
  outcome[#outcome + 1], i = put_job(i, ARGV[1])
end
return outcome
