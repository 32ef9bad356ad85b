-- Let schedules tick: enqueue the jobs of their ticks and move them on to their next. All or nothing, and for each only if
-- it is still as the caller read it: so no tick is lost or happens twice, whoever calls, and however often.
-- Touches rq:dataflow:schedules:OWNER and, for each: rq:dataflow:schedule:OWNER:NAME, rq:dataflow:schedule:OWNER:NAME:ticks;
-- for each job what put_job touches and, where it cancels another, what cancel_job touches.
-- ARGV: owner, text of now, seconds that a canceled job is kept; for each schedule: name, revision, due time as read, next
--   due time ('' where it has ended), unix time of the next start or +inf, ticks missed, due time of the last one missed,
--   overlap policy, count of jobs; for each job: due time, what put_job takes
-- Returns for each: {1 done or 0 changed meanwhile, {job id, its status, 'skipped' or 'taken'}…,
--   {job id, 'canceled', its worker}…}.

local owner, at, kept = ARGV[1], ARGV[2], ARGV[3]

local function after_job(i)
  local parents = tonumber(ARGV[i + 9])
  return i + 11 + parents + tonumber(ARGV[i + 10 + parents])
end

-- Jobs of a schedule that have not ended: they stand in the line of its ordering key.
local function unfinished(key, of)
  local found = {}
  for _, id in ipairs(call('LRANGE', line_of(key), 0, -1)) do
    local f = call('HMGET', job_key(id), 'status', 'x_schedule')
    if f[1] and not ENDED[f[1]] and f[2] == of then found[#found + 1] = id end
  end
  return found
end

-- One job of a schedule, where the policy lets it.
local function start(i, schedule, of, due, overlap, report)
  local id, key = ARGV[i], ARGV[i + 8]
  local before = (overlap == 'skip' or overlap == 'cancel_previous') and unfinished(key, of) or {}
  local status
  if #before > 0 and overlap == 'skip' then
    status = 'skipped'
  else
    for _, previous in ipairs(before) do
      if previous ~= id then
        local _, worker = cancel_job(previous, at, kept)
        report[#report + 1] = { previous, 'canceled', worker }
      end
    end
    status = put_job(i, at)
    -- The job of this very tick is there where a schedule was set back in time. One of something else is an error.
    if status == 'duplicate' and call('HGET', job_key(id), 'x_schedule') ~= of then status = 'taken' end
  end
  report[#report + 1] = { id, status }
  if status == 'skipped' or status == 'taken' then
    if status == 'skipped' then call('HINCRBY', schedule, 'skipped', 1) end
    note_tick(schedule, due, status, '', 1)
  else
    call('HSET', schedule, 'last_due', due, 'last_job', id, 'last_queued', now())
    call('HINCRBY', schedule, 'queued', 1)
    note_tick(schedule, due, 'queued', id, 1)
  end
end

local reports = {}
local i = 4
while i <= #ARGV do
  local name, revision, expected, due, starts, missed, missed_due, overlap, jobs = unpack(ARGV, i, i + 8)
  i = i + 9
  local schedule, of = schedule_key(owner, name), owner .. ':' .. name
  local f = call('HMGET', schedule, 'revision', 'next_due')
  local current = f[1] == revision and f[2] == expected
  local report = { current and 1 or 0 }
  if current then
    call('HSET', schedule, 'next_due', due)
    if due == '' then call('HSET', schedule, 'state', 'ended') end
    call('ZADD', schedules_key(owner), starts, name)
    if missed ~= '0' then
      call('HINCRBY', schedule, 'missed', missed)
      call('HSET', schedule, 'last_missed', missed_due)
      note_tick(schedule, missed_due, 'missed', '', tonumber(missed))
    end
  end
  for _ = 1, tonumber(jobs) do
    if current then start(i + 1, schedule, of, ARGV[i], overlap, report) end
    i = after_job(i + 1)
  end
  reports[#reports + 1] = report
end
return reports
