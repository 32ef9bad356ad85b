-- What the scripts of schedules share; dataflow/jobs/keys.py draws the keys.

-- Entries that the history of a schedule has at most.
local HISTORY = 20

local function schedule_key(owner, name)
  return P .. ':dataflow:schedule:' .. owner .. ':' .. name
end

local function schedules_key(owner)
  return P .. ':dataflow:schedules:' .. owner
end

-- Write into the history of a schedule what became of a tick. Touches rq:dataflow:schedule:OWNER:NAME:ticks.
-- `due` is text of a unix time; `job` is '' where there is none; `count` is of how many ticks this speaks.
local function note_tick(schedule, due, what, job, count)
  local ticks = schedule .. ':ticks'
  call('LPUSH', ticks, cjson.encode({ due = due, at = string.format('%.3f', now()), what = what, job = job, count = count }))
  call('LTRIM', ticks, 0, HISTORY - 1)
end
